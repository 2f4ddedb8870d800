"""Signs events as the providers do and delivers them until the shop takes them."""

import asyncio
import hashlib
import hmac
import secrets
import time
import zlib
from typing import Any, Final

import httpx
import orjson
import structlog

from stack.simulators.payment_providers.settings import SimulatorSettings
from stack.simulators.payment_providers.store import Delivery, Provider, Store

log = structlog.get_logger()

_TRIES: Final = 20
_LONGEST_PAUSE: Final = 60.0
_AT_ONCE: Final = 8

AUTH_ALGORITHM: Final = "SHA256withRSA"
"""What PayPal names. The simulator signs with a shared secret instead, which only its verification has to know."""


class Webhooks:
    """Keeps events in the store and sends them, with pauses that double, up to ``_TRIES`` times."""

    def __init__(self, settings: SimulatorSettings, store: Store, client: httpx.AsyncClient) -> None:
        self.name = "webhooks"
        self.ready = True
        self._settings = settings
        self._store = store
        self._client = client
        self._wake = asyncio.Event()
        self._urls: dict[Provider, str] = {
            "stripe": settings.stripe_webhook_url,
            "paypal": settings.paypal_webhook_url,
        }

    def publish(self, provider: Provider, event: dict[str, Any], type: str, *, delay: float = 0.0) -> None:
        """Has an event delivered; to be called inside the transaction that it tells of."""
        if self._urls[provider]:
            body = orjson.dumps(event, option=orjson.OPT_SORT_KEYS).decode()
            self._store.enqueue(provider, event, type, body, time.time() + delay)
            self._wake.set()

    def wake(self) -> None:
        """Looks for due deliveries now."""
        self._wake.set()

    async def run(self) -> None:
        """Delivers until cancelled."""
        while True:
            due = self._store.due(time.time(), _AT_ONCE)
            if due:
                await asyncio.gather(*(self._deliver(delivery) for delivery in due))
                continue
            self._wake.clear()
            next_due = self._store.next_due()
            pause = 5.0 if next_due is None else min(5.0, max(0.01, next_due - time.time()))
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _deliver(self, delivery: Delivery) -> None:
        now = time.time()
        headers = self._signed(delivery, now)
        try:
            response = await self._client.post(
                self._urls[delivery.provider],
                content=delivery.body.encode(),
                headers={"Content-Type": "application/json", **headers},
                timeout=10,
            )
            taken, status = response.is_success, str(response.status_code)
        except httpx.HTTPError as error:
            taken, status = False, type(error).__name__
        tries = delivery.tries + 1
        given_up = not taken and tries >= _TRIES
        due_at = None if taken or given_up else now + min(_LONGEST_PAUSE, 0.5 * 2 ** (tries - 1))
        self._store.reschedule(delivery.sequence, tries=tries, due_at=due_at, last_status=status)
        if not taken:
            log.warning("webhook.not_taken", event_id=delivery.event_id, type=delivery.type, status=status, tries=tries)

    def _signed(self, delivery: Delivery, now: float) -> dict[str, str]:
        if delivery.provider == "stripe":
            secret = self._settings.stripe_webhook_secret.get_secret_value()
            return {"Stripe-Signature": stripe_signature(delivery.body, secret, int(now))}
        sent_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
        transmission = f"t{secrets.token_hex(16)}"
        return {
            "PAYPAL-TRANSMISSION-ID": transmission,
            "PAYPAL-TRANSMISSION-TIME": sent_at,
            "PAYPAL-TRANSMISSION-SIG": self.paypal_signature(transmission, sent_at, delivery.body),
            "PAYPAL-CERT-URL": f"http://{self._settings.host}:{self._settings.port}/v1/notifications/certs/CERT-surge",
            "PAYPAL-AUTH-ALGO": AUTH_ALGORITHM,
        }

    def paypal_signature(self, transmission: str, sent_at: str, body: str) -> str:
        """The signature over what PayPal signs: transmission, time, webhook and the body's CRC-32."""
        signed = f"{transmission}|{sent_at}|{self._settings.paypal_webhook_id}|{zlib.crc32(body.encode())}"
        secret = self._settings.paypal_webhook_secret.get_secret_value()
        return hmac.new(secret.encode(), signed.encode(), hashlib.sha256).hexdigest()


def stripe_signature(body: str, secret: str, timestamp: int) -> str:
    """The ``Stripe-Signature`` header of a body."""
    signature = hmac.new(secret.encode(), f"{timestamp}.{body}".encode(), hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={signature}"
