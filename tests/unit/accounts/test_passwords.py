"""Hashes, their bounded concurrency, and refresh tokens."""

import asyncio
import threading
import time

import pytest
from pydantic import SecretStr

from oltp.accounts import passwords
from oltp.accounts.errors import HashingBusy
from oltp.accounts.passwords import Hasher, hash_password, is_outdated, verify_password
from oltp.accounts.tokens import fingerprint, first_token, successor

KEY = SecretStr("k" * 32)


def test_a_hash_is_argon2id_with_the_parameters_asked_for():
    stored = hash_password("correct horse")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert verify_password(stored, "correct horse")
    assert not verify_password(stored, "wrong horse")
    assert not is_outdated(stored)


async def test_an_unreadable_hash_fits_no_password():
    hasher = Hasher(concurrency=1, queue=1, wait=1)
    assert not await hasher.verify("not a hash", "anything")
    hasher.close()


class Slow:
    """Stands in for argon2: counts who works at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.working, self.most, self.lock, self.go = 0, 0, threading.Lock(), threading.Event()
        monkeypatch.setattr(passwords, "hash_password", self)

    def __call__(self, password: str) -> str:
        with self.lock:
            self.working += 1
            self.most = max(self.most, self.working)
        self.go.wait(5)
        with self.lock:
            self.working -= 1
        return "hash"


async def test_so_many_hash_at_once_and_the_rest_wait(monkeypatch: pytest.MonkeyPatch):
    slow, hasher = Slow(monkeypatch), Hasher(concurrency=2, queue=10, wait=5)
    running = [asyncio.create_task(hasher.hash("x")) for _ in range(6)]
    await asyncio.sleep(0.1)
    slow.go.set()
    assert await asyncio.gather(*running) == ["hash"] * 6
    assert slow.most == 2
    hasher.close()


async def test_who_would_stand_beyond_the_queue_is_refused_at_once(monkeypatch: pytest.MonkeyPatch):
    slow, hasher = Slow(monkeypatch), Hasher(concurrency=1, queue=2, wait=5)
    running = [asyncio.create_task(hasher.hash("x")) for _ in range(3)]
    await asyncio.sleep(0.05)
    started = time.monotonic()
    with pytest.raises(HashingBusy) as refused:
        await hasher.hash("x")
    assert time.monotonic() - started < 0.05
    assert refused.value.headers["Retry-After"]
    slow.go.set()
    assert await asyncio.gather(*running) == ["hash"] * 3
    hasher.close()


async def test_who_waits_too_long_is_refused_and_leaves_the_queue(monkeypatch: pytest.MonkeyPatch):
    slow, hasher = Slow(monkeypatch), Hasher(concurrency=1, queue=1, wait=0.05)
    first = asyncio.create_task(hasher.hash("x"))
    await asyncio.sleep(0.01)
    for _ in range(2):
        with pytest.raises(HashingBusy):
            await hasher.hash("x")
    slow.go.set()
    assert await first == "hash"
    assert await hasher.hash("x") == "hash"
    hasher.close()


async def test_a_caller_who_goes_away_frees_no_place_before_the_work_is_done(monkeypatch: pytest.MonkeyPatch):
    slow, hasher = Slow(monkeypatch), Hasher(concurrency=1, queue=0, wait=1)
    first = asyncio.create_task(hasher.hash("x"))
    await asyncio.sleep(0.02)
    first.cancel()
    await asyncio.sleep(0.02)
    with pytest.raises(HashingBusy):
        await hasher.hash("x")
    slow.go.set()
    await asyncio.sleep(0.05)
    assert await hasher.hash("x") == "hash"
    hasher.close()


def test_tokens_are_random_and_their_successors_are_not():
    token = first_token()
    assert len(token) == len(successor(token, KEY)) == 43
    assert first_token() != token
    assert successor(token, KEY) == successor(token, KEY) != token
    assert successor(token, SecretStr("q" * 32)) != successor(token, KEY)
    assert len(fingerprint(token)) == 32
