"""The books: proof that stock, money, orders and their history agree. Reads everything, writes nothing."""
