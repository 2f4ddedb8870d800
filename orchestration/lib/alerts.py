"""Alerts: events on a topic that the shop's notifications read, and turn into emails.

Not straight to the mail server: notifications write each one down, try again while the mail server is away, send what
they have seen before once, and show admins what became of it.
"""

import asyncio
import datetime as dt
from dataclasses import dataclass, field
from typing import Final

import dagster as dg

from contracts.envelope import caused_id, registry, seal
from contracts.events import AlertRaised
from kit.kafka import EventProducer
from orchestration.settings import OrchestrationSettings

SOURCE: Final = "surge/orchestration"
MOST_DETAILS: Final = 50


@dataclass(frozen=True)
class Alert:
    """What people have to look at. ``key`` names it: an alert is told once, however often it is raised."""

    key: str
    kind: str
    title: str
    details: list[str] = field(default_factory=list)
    run_id: str | None = None


class Alerts(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Raises alerts."""

    def raise_alert(self, alert: Alert) -> None:
        """Returns once Kafka has it.

        Raises:
            KafkaError, TimeoutError: if Kafka can't be reached; the tick that found it is tried again.
        """
        asyncio.run(_send(alert, OrchestrationSettings()))


def event(alert: Alert, *, recipient: str, pages: str, now: dt.datetime) -> AlertRaised:
    """What is told; only so many details that an email can be read. ``pages`` is the address of Dagster's."""
    details = alert.details[:MOST_DETAILS]
    if len(alert.details) > MOST_DETAILS:
        details.append(f"… and {len(alert.details) - MOST_DETAILS} more")
    return AlertRaised(
        alert_id=alert.key,
        kind=alert.kind,
        title=alert.title,
        details=details,
        recipient=recipient,
        link=f"{pages}/runs/{alert.run_id}" if alert.run_id else pages,
        raised_at=now,
    )


async def _send(alert: Alert, settings: OrchestrationSettings) -> None:
    now = dt.datetime.now(dt.UTC)
    payload = event(alert, recipient=settings.alerts_to, pages=settings.dagster_url, now=now)
    producer = EventProducer(settings)
    try:
        await producer.start()
        identity = caused_id(alert.key, registry.name_of(AlertRaised))
        await producer.send([seal(payload, id=identity, source=SOURCE, subject=alert.key, time=now)])
    finally:
        await producer.stop()
