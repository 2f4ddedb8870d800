"""What can be made to go wrong on purpose, and kept over restarts."""

import asyncio
import hashlib
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from stack.simulators.payment_providers.settings import SimulatorSettings
from stack.simulators.payment_providers.store import Store

_NAME: Final = "faults"


class Faults(BaseModel):
    """The present faults; ``PUT /_control/faults`` changes those that it names."""

    model_config = ConfigDict(extra="forbid")

    latency_ms: int = Field(default=0, ge=0, le=60_000, description="Mean time that a call takes.")
    failure_rate: float = Field(default=0.0, ge=0, le=1, description="Share of plain charges that are declined.")
    failure_reasons: list[str] = Field(default_factory=list, description="Reasons of those, equally often.")
    drop_next: int = Field(default=0, ge=0, description="So many next changes are made and their answers lost.")
    drop_rate: float = Field(default=0.0, ge=0, le=1, description="Share of changes whose first answer is lost.")
    outage: bool = Field(default=False, description="Every call fails with a server error and does nothing.")


class FaultDesk:
    """Applies the faults. All chances follow from seed and key, so that a run can be repeated."""

    def __init__(self, settings: SimulatorSettings, store: Store) -> None:
        self._seed = settings.payments_seed
        self._store = store
        self._hold = settings.simulator_hold_seconds
        self._initial = Faults(
            latency_ms=settings.payments_latency_ms,
            failure_rate=settings.payments_failure_rate,
            failure_reasons=settings.payments_failure_reasons,
        )
        stored = store.control(_NAME)
        self.current = self._initial if stored is None else Faults.model_validate(stored)

    def change(self, values: dict[str, Any]) -> Faults:
        """Merges values into the present faults and keeps them."""
        self.current = Faults.model_validate({**self.current.model_dump(), **values})
        self._store.set_control(_NAME, self.current.model_dump())
        return self.current

    def reset(self) -> None:
        """Back to what the settings say."""
        self.current = self._initial

    def decline(self, key: str) -> str | None:
        """The reason that a plain charge is declined for, by chance."""
        chance, which = self._draw(f"decline|{key}")
        if chance >= self.current.failure_rate or not self.current.failure_reasons:
            return None
        return self.current.failure_reasons[int(which * len(self.current.failure_reasons))]

    def drops(self, key: str) -> bool:
        """Whether the answer to this change gets lost."""
        if self.current.drop_next > 0:
            self.change({"drop_next": self.current.drop_next - 1})
            return True
        return self.current.drop_rate > 0 and self._draw(f"drop|{key}")[0] < self.current.drop_rate

    async def take_time(self, key: str) -> None:
        """Waits as long as the call takes."""
        if self.current.latency_ms:
            await asyncio.sleep(self.current.latency_ms / 1000 * (0.5 + self._draw(f"latency|{key}")[0]))

    async def hold(self) -> None:
        """Lets the caller wait until it has given up."""
        await asyncio.sleep(self._hold)

    def _draw(self, key: str) -> tuple[float, float]:
        digest = hashlib.blake2b(f"{self._seed}|{key}".encode(), digest_size=8).digest()
        return int.from_bytes(digest[:4]) / 2**32, int.from_bytes(digest[4:]) / 2**32
