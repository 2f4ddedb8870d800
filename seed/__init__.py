"""Demo data: customers, products, stock and a year of orders, the same for the same seed number."""
