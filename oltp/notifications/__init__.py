"""Notifications: tells customers what became of their orders, once per event and channel, off every critical path."""
