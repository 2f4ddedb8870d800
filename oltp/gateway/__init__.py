"""The public API: every service's routes in one process, and the checkout, where orders are born."""
