"""Accounts: who the customers and admins are, how they sign in, and where they live."""
