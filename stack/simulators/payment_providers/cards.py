"""Stripe's test PaymentMethods and what confirming with them leads to."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Decline:
    """How an issuer says no: Stripe's error code, the issuer's decline code where there is one, and words."""

    code: str
    decline_code: str | None
    message: str


@dataclass(frozen=True, slots=True)
class Card:
    """A test card. ``plain`` ones can be declined by chance."""

    brand: str = "visa"
    last4: str = "4242"
    decline: Decline | None = None
    dispute: str | None = None
    authentication: bool = False
    answer_lost: bool = False
    never_answers: bool = False
    plain: bool = False


_DECLINES: Final = {
    "": ("card_declined", "generic_decline", "The card was declined."),
    "InsufficientFunds": ("card_declined", "insufficient_funds", "The card has insufficient funds."),
    "LostCard": ("card_declined", "lost_card", "The card was declined."),
    "StolenCard": ("card_declined", "stolen_card", "The card was declined."),
    "Fraudulent": ("card_declined", "fraudulent", "The card was declined."),
    "VelocityLimitExceeded": (
        "card_declined",
        "card_velocity_exceeded",
        "The card was declined for making repeated attempts too often.",
    ),
    "ExpiredCard": ("expired_card", None, "The card has expired."),
    "IncorrectCvc": ("incorrect_cvc", None, "The card's security code is incorrect."),
    "ProcessingError": ("processing_error", None, "An error occurred while the card was processed."),
}

CARDS: Final[dict[str, Card]] = {
    "pm_card_visa": Card(plain=True),
    "pm_card_visa_debit": Card(last4="5556"),
    "pm_card_mastercard": Card("mastercard", "4444"),
    "pm_card_amex": Card("amex", "8431"),
    "pm_card_discover": Card("discover", "9424"),
    "pm_card_authenticationRequired": Card(last4="3184", authentication=True),
    "pm_card_createDispute": Card(last4="0259", dispute="fraudulent"),
    "pm_card_createDisputeProductNotReceived": Card(last4="2685", dispute="product_not_received"),
    "pm_card_timeout": Card(last4="0408", answer_lost=True),
    "pm_card_unavailable": Card(last4="0503", never_answers=True),
    **{
        f"pm_card_{brand}chargeDeclined{name}": Card(last4="0002", decline=Decline(*decline))
        for brand in ("", "visa_")
        for name, decline in _DECLINES.items()
    },
}
"""By id. ``pm_card_timeout`` and ``pm_card_unavailable`` are the simulator's own; the others are Stripe's."""


def chance_decline(reason: str) -> Decline:
    """The decline that a reason from the settings stands for."""
    for code, decline_code, message in _DECLINES.values():
        if reason in (code if decline_code is None else decline_code, decline_code):
            return Decline(code, decline_code, message)
    return Decline(
        "card_declined", "generic_decline" if reason == "card_declined" else reason, "The card was declined."
    )
