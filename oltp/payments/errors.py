"""What payments can say no to."""

from kit.errors import NotFound, Problem


class UnknownPayment(NotFound):
    """There is no payment for this order."""

    type = "unknown-payment"
    title = "Unknown payment"


class InvalidSignature(Problem):
    """The message is not signed by the provider, or too old."""

    status_code = 401
    type = "invalid-signature"
    title = "Not signed by the provider"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Signature"})
