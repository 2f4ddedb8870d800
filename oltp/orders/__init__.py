"""Orders: their tables, reads and cancellation over HTTP, live tracking, order history.

The saga decides how an order moves and is the tables' one writer (``sagas/store.py``); everything here reads them, in
:mod:`oltp.orders.repository`.
"""
