"""Measurements of the running shop."""
