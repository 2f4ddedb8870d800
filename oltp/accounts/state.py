"""What the accounts service holds open in the process that serves it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from kit.ids import new_id
from kit.resources import Resources
from oltp.accounts.directory import Directory
from oltp.accounts.limits import Limiter
from oltp.accounts.passwords import Hasher
from oltp.accounts.settings import AccountsSettings


@dataclass(frozen=True, slots=True)
class AccountsState:
    """What the routes need. Unknown users' passwords are held against ``nobody_hash``."""

    settings: AccountsSettings
    directory: Directory
    hasher: Hasher
    limiter: Limiter
    nobody_hash: str


@asynccontextmanager
async def lifespan(resources: Resources) -> AsyncIterator[dict[str, Any]]:
    """Gives request state ``accounts``, which the routes need, and ``addresses`` (an AddressDirectory)."""
    settings = AccountsSettings.beside(resources.settings)
    hasher = Hasher(
        concurrency=settings.accounts_hash_concurrency,
        queue=settings.accounts_hash_queue,
        wait=settings.accounts_hash_wait_seconds,
    )
    directory = Directory(resources.redis, resources.database)
    try:
        state = AccountsState(
            settings=settings,
            directory=directory,
            hasher=hasher,
            limiter=Limiter(resources.redis),
            nobody_hash=await hasher.hash(new_id()),
        )
        yield {"accounts": state, "addresses": directory}
    finally:
        hasher.close()
