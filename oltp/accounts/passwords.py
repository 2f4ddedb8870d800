"""Password hashes: argon2id with OWASP's minimum (19 MiB, two passes, one lane), a bounded number at a time."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import argon2
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from oltp.accounts.domain import normalize_password
from oltp.accounts.errors import HashingBusy

_T = TypeVar("_T")
_ARGON2: Final = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, hash_len=32, salt_len=16)


def hash_password(password: str) -> str:
    """The argon2id hash of a password. Takes tens of milliseconds and 19 MiB; not for an event loop."""
    return _ARGON2.hash(normalize_password(password))


def verify_password(stored: str, password: str) -> bool:
    """Whether the password has this hash. Takes as long as hashing it.

    Raises:
        VerificationError, InvalidHashError: if ``stored`` is no argon2 hash.
    """
    try:
        return _ARGON2.verify(stored, normalize_password(password))
    except VerifyMismatchError:
        return False


def is_outdated(stored: str) -> bool:
    """Whether a hash was made with other parameters than today's."""
    return _ARGON2.check_needs_rehash(stored)


class Hasher:
    """Hashes in threads of its own (argon2 releases the GIL), so many at a time; who would wait too long is refused."""

    def __init__(self, *, concurrency: int, queue: int, wait: float) -> None:
        self._executor = ThreadPoolExecutor(concurrency, thread_name_prefix="argon2")
        self._free = asyncio.Semaphore(concurrency)
        self._queue = queue
        self._wait = wait
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """:func:`hash_password`, off the event loop.

        Raises:
            HashingBusy: if too many others wait already.
        """
        return await self._run(lambda: hash_password(password))

    async def verify(self, stored: str, password: str) -> bool:
        """:func:`verify_password`, off the event loop; a hash that can't be read fits no password.

        Raises:
            HashingBusy: if too many others wait already.
        """

        def check() -> bool:
            try:
                return verify_password(stored, password)
            except (VerificationError, InvalidHashError):
                return False

        return await self._run(check)

    async def _run(self, work: Callable[[], _T]) -> _T:
        if self._free.locked() and self._waiting >= self._queue:
            raise HashingBusy("Too many sign-ins at once; please try again.", retry_after=2)
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait):
                await self._free.acquire()
        except TimeoutError:
            raise HashingBusy("Too many sign-ins at once; please try again.", retry_after=2) from None
        finally:
            self._waiting -= 1
        try:
            running = asyncio.get_running_loop().run_in_executor(self._executor, work)
        except BaseException:
            self._free.release()
            raise
        running.add_done_callback(lambda _: self._free.release())
        return await asyncio.shield(running)

    def close(self) -> None:
        """Takes no more work."""
        self._executor.shutdown(wait=False, cancel_futures=True)
