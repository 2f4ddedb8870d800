"""What payments asks of a provider.

Every method may be called again with the same request, at any time and from any process, and does its work once: the
requests carry idempotency keys that follow from the order. A provider raises nothing for what the network or the other
side does: what is not known to have happened, or not to have happened, is :class:`~oltp.payments.domain.Unknown`.

What the tokens of the local providers lead to
----------------------------------------------

"But for a share": ``SURGE_PAYMENTS_FAILURE_RATE`` of them, for one of ``SURGE_PAYMENTS_FAILURE_REASONS``.

| ``wallet`` (simulated) | ``card`` (Stripe's protocol) | ``paypal`` (PayPal's protocol) | outcome |
| --- | --- | --- | --- |
| ``tok_ok`` | ``pm_card_mastercard`` | ``B-OK`` | captured |
| any other ``tok_…`` | ``pm_card_visa`` | any other ``B-…`` | captured, but for a share |
| ``tok_card_declined`` | ``pm_card_chargeDeclined`` | | ``card_declined`` |
| | | ``B-INSTRUMENT_DECLINED`` | ``instrument_declined`` |
| ``tok_insufficient_funds`` | ``pm_card_chargeDeclinedInsufficientFunds`` | | ``insufficient_funds`` |
| | | ``B-PAYER_CANNOT_PAY`` | ``payer_cannot_pay`` |
| ``tok_expired_card`` | ``pm_card_chargeDeclinedExpiredCard`` | | ``expired_card`` |
| | | ``B-AGREEMENT_ALREADY_CANCELLED`` | ``agreement_already_cancelled`` |
| ``tok_fraudulent`` | ``pm_card_chargeDeclinedFraudulent`` | | ``fraudulent`` |
| | | ``B-COMPLIANCE_VIOLATION`` | ``compliance_violation`` |
| ``tok_lost_card`` | ``pm_card_chargeDeclinedLostCard`` | | ``lost_card`` |
| ``tok_stolen_card`` | ``pm_card_chargeDeclinedStolenCard`` | | ``stolen_card`` |
| | ``pm_card_chargeDeclinedIncorrectCvc`` | | ``incorrect_cvc`` |
| | ``pm_card_chargeDeclinedVelocityLimitExceeded`` | | ``card_velocity_exceeded`` |
| | ``pm_card_authenticationRequired`` | | ``authentication_required`` |
| | | ``B-TRANSACTION_REFUSED`` | ``transaction_refused`` |
| | | ``B-PAYER_ACCOUNT_RESTRICTED`` | ``payer_account_restricted`` |
| | | ``B-PAYER_ACCOUNT_LOCKED_OR_CLOSED`` | ``payer_account_locked_or_closed`` |
| | ``pm_card_chargeDeclinedProcessingError`` | | ``processing_error``, after a second attempt |
| ``tok_processing_error`` | | | captured by the second attempt |
| ``tok_timeout`` | ``pm_card_timeout`` | ``B-TIMEOUT`` | taken, but the answer is lost: asking again finds it |
| ``tok_unavailable`` | ``pm_card_unavailable`` | ``B-UNAVAILABLE`` | never answered: in the end the saga voids it |
| ``tok_slow`` | | | captured after two seconds |
| | ``pm_card_createDispute`` | ``B-DISPUTE`` | captured, and disputed a moment later |
| not ``tok_…`` | unknown to Stripe | not ``B-…`` | ``invalid_payment_method`` |
"""

import asyncio
from typing import Protocol, assert_never

import structlog

from oltp.payments.domain import (
    Action,
    Captured,
    Charge,
    Declined,
    Refund,
    Refunded,
    Refused,
    Result,
    Unknown,
    Void,
    Voided,
)

log = structlog.get_logger()

INVALID_METHOD = "invalid_payment_method"
"""Why a charge is declined whose token the provider does not know."""


class Provider(Protocol):
    """A payment provider."""

    async def charge(self, charge: Charge) -> Captured | Declined | Unknown:
        """Takes the amount, once for each key."""
        ...

    async def void(self, void: Void) -> Voided | Captured | Unknown:
        """Sees to it that the charge's key takes nothing from now on, or says that it has taken the amount."""
        ...

    async def refund(self, refund: Refund) -> Refunded | Refused | Unknown:
        """Gives the captured amount back, once."""
        ...

    async def close(self) -> None:
        """Closes its connections."""
        ...


async def perform(provider: Provider, action: Action, *, seconds: float) -> Result:
    """Makes one call. What takes longer than ``seconds``, or breaks, has an unknown outcome."""
    try:
        async with asyncio.timeout(seconds):
            match action:
                case Charge():
                    return await provider.charge(action)
                case Void():
                    return await provider.void(action)
                case Refund():
                    return await provider.refund(action)
                case _:
                    assert_never(action)
    except TimeoutError:
        return Unknown("timeout")
    except Exception as error:
        # money may have moved: whatever broke, the outcome has to be asked for again
        log.exception("payment.call_broke", key=action.key)
        return Unknown(f"{type(error).__name__}: {error}")
