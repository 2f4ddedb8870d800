"""Payment providers behind one port: simulated in process, Stripe, PayPal."""

from collections.abc import Mapping

from oltp.payments.providers.paypal import PayPalClient, PayPalProvider
from oltp.payments.providers.port import Provider
from oltp.payments.providers.simulated import SimulatedProvider
from oltp.payments.providers.stripe import StripeProvider
from oltp.payments.settings import PaymentsSettings

__all__ = [
    "PayPalClient",
    "PayPalProvider",
    "Provider",
    "SimulatedProvider",
    "StripeProvider",
    "open_providers",
    "paypal_client",
]


def open_providers(settings: PaymentsSettings) -> Mapping[str, Provider]:
    """The providers that the settings name, by name. Nothing is connected yet.

    Raises:
        ValueError: if a provider that serves a method lacks its credentials.
    """
    opened: dict[str, Provider] = {}
    for name in set(settings.payments_providers.values()):
        if name == "stripe":
            opened[name] = StripeProvider(
                api_key=settings.stripe_api_key.get_secret_value(),
                api_base=settings.stripe_api_base or settings.providers_address,
                timeout=settings.payments_timeout_seconds,
                connections=settings.payments_concurrency,
            )
        elif name == "paypal":
            opened[name] = PayPalProvider(paypal_client(settings))
        else:
            opened[name] = SimulatedProvider(
                failure_rate=settings.payments_failure_rate,
                failure_reasons=settings.payments_failure_reasons,
                latency_ms=settings.payments_latency_ms,
                seed=settings.payments_seed,
            )
    return opened


def paypal_client(settings: PaymentsSettings) -> PayPalClient:
    """PayPal's REST API as the settings reach it.

    Raises:
        ValueError: if the credentials are missing.
    """
    return PayPalClient(
        client_id=settings.paypal_client_id,
        client_secret=settings.paypal_client_secret.get_secret_value(),
        api_base=settings.paypal_api_base or settings.providers_address,
        timeout=settings.payments_timeout_seconds,
        connections=settings.payments_concurrency,
    )
