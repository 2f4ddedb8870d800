"""Stripe's and PayPal's protocols on loopback, for a shop without accounts there: what they charge is play money.

One FastAPI service speaks a subset of both, keeps its books in SQLite so that they outlive ``kill -9``, sends signed
webhooks, and has control routes (``/_control/…``) that make it slow, forgetful or stern. Which payment method leads to
what stands in :mod:`oltp.payments.providers.port`.
"""
