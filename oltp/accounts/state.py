"""What the accounts service holds open in the process that serves it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from kit.ids import new_id
from kit.resources import Resources
from oltp.accounts.limits import Limiter
from oltp.accounts.passwords import Hasher
from oltp.accounts.settings import AccountsSettings


@dataclass(frozen=True, slots=True)
class AccountsState:
    """Hasher, limiter, settings, and the hash that unknown users' passwords are held against."""

    settings: AccountsSettings
    hasher: Hasher
    limiter: Limiter
    nobody_hash: str


@asynccontextmanager
async def lifespan(resources: Resources) -> AsyncIterator[dict[str, Any]]:
    """Gives request state ``accounts``, which the routes need."""
    settings = AccountsSettings.beside(resources.settings)
    hasher = Hasher(
        concurrency=settings.accounts_hash_concurrency,
        queue=settings.accounts_hash_queue,
        wait=settings.accounts_hash_wait_seconds,
    )
    try:
        state = AccountsState(
            settings=settings,
            hasher=hasher,
            limiter=Limiter(resources.redis),
            nobody_hash=await hasher.hash(new_id()),
        )
        yield {"accounts": state}
    finally:
        hasher.close()
