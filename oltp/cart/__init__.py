"""The cart: what a customer is about to buy, in a Redis hash that expires when it is left alone."""
