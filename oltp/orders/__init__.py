"""Orders: their tables and every query on them, reads and cancellation over HTTP, live tracking, order history.

The saga decides how an order moves and reaches these tables through :mod:`oltp.orders.repository` alone.
"""
