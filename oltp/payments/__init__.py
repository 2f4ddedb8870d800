"""Payments: charges an order once, and gives back what must not stay charged."""
