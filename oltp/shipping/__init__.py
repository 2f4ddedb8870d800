"""Shipping: books parcels with carriers, one per warehouse, and follows them to the customer's door."""
