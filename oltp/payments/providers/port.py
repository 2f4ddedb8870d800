"""What payments asks of a provider.

Every method may be called again with the same request, at any time and from any process, and does its work once: the
requests carry idempotency keys that follow from the order. A provider raises nothing for what the network or the other
side does: what is not known to have happened, or not to have happened, is :class:`~oltp.payments.domain.Unknown`.

What the tokens of the local providers lead to
----------------------------------------------

================================================  =======================  ==============================  ===========
wallet (simulated, in process)                    card (Stripe protocol)   paypal (PayPal protocol)        outcome
================================================  =======================  ==============================  ===========
``tok_ok``                                        ``pm_card_mastercard``   ``B-OK``                        captured
any other, such as ``tok_wallet``                 ``pm_card_visa``         any other, such as ``B-4242``   captured, but for the share that ``SURGE_PAYMENTS_FAILURE_RATE`` declines
``tok_card_declined``                             ``pm_card_chargeDeclined``                   ``B-INSTRUMENT_DECLINED``  ``card_declined``, ``instrument_declined``
``tok_insufficient_funds``                        ``pm_card_chargeDeclinedInsufficientFunds``  ``B-PAYER_CANNOT_PAY``     ``insufficient_funds``, ``payer_cannot_pay``
``tok_expired_card``                              ``pm_card_chargeDeclinedExpiredCard``        ``B-AGREEMENT_ALREADY_CANCELLED``  ``expired_card``, ``agreement_already_cancelled``
``tok_fraudulent``                                ``pm_card_chargeDeclinedFraudulent``         ``B-COMPLIANCE_VIOLATION``         ``fraudulent``, ``compliance_violation``
``tok_lost_card``, ``tok_stolen_card``            ``pm_card_chargeDeclinedLostCard``, ``…StolenCard``  ``B-PAYER_ACCOUNT_LOCKED_OR_CLOSED``  ``lost_card``, ``stolen_card``, ``payer_account_locked_or_closed``
``tok_processing_error``                          ``pm_card_chargeDeclinedProcessingError``    –  ``processing_error``, twice over Stripe (declined); in process the second attempt captures
–                                                 ``pm_card_authenticationRequired``           –  ``authentication_required``
``tok_timeout``                                   ``pm_card_timeout``      ``B-TIMEOUT``                   taken, but the first answer is lost; asking again with the same key brings it to light
``tok_unavailable``                               ``pm_card_unavailable``  ``B-UNAVAILABLE``               never answered: the saga's payment time-out voids it
``tok_slow``                                      –                        –                               captured after two seconds
–                                                 ``pm_card_createDispute``  ``B-DISPUTE``                 captured, and disputed a moment later
empty, or of another method                       the same                 the same                        ``invalid_payment_method``
================================================  =======================  ==============================  ===========
"""  # noqa: E501

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
