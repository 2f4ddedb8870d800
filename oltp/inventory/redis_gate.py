"""The gate in Redis: one counter and one lock set a product, moved by Lua scripts.

Besides the specification's keys it keeps two of its own. The *marker* says that the counters were filled from the
books since the last wipe: without it nothing is admitted until they are filled again. It holds the run id of the Redis
server that was checked last, so that a restart (which may have lost the last writes) has every product compared.
*Touched* scores products by when they last moved: those are compared with the books once they are quiet.
"""

import hashlib
from collections import Counter as Tally
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

import redis.exceptions
import structlog
from prometheus_client import Counter
from redis.asyncio import Redis

from contracts.redis_keys import HOLD_SECONDS, stock, stock_lock
from oltp.inventory.domain import FailureReason, Refusal
from oltp.inventory.gate import Books, Claim, GateAway

log = structlog.get_logger()

MARKER: Final = "inventory_gate:filled"
TOUCHED: Final = "inventory_gate:touched"
FIRST_PRODUCT: Final = "00000000-0000-0000-0000-000000000000"
_PAGE: Final = 2000
_ROUNDS: Final = 4
QUIET_MS: Final = 4000

ANSWERS = Counter("surge_inventory_gate_answers_total", "What the gate answered to reservations.", ["answer"])
COMPARED = Counter("surge_inventory_gate_compared_total", "Products compared with the books, by outcome.", ["outcome"])


@dataclass(frozen=True, slots=True)
class Comparison:
    """One product's counter against the books. ``counter`` is what it was before any correction; empty: missing."""

    product_id: str
    available: int
    outcome: str
    counter: str


class Script:
    """A Lua script of this package, sent by its hash."""

    def __init__(self, name: str) -> None:
        self.source = resources.files("oltp.inventory").joinpath("lua", f"{name}.lua").read_text()
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


class RedisGate:
    """:class:`oltp.inventory.gate.Gate` over Redis, with what its keeper needs to compare it with the books."""

    def __init__(
        self, redis: Redis, books: Books, *, hold_seconds: int = HOLD_SECONDS, quiet_ms: int = QUIET_MS
    ) -> None:
        """A gate before ``books``.

        Args:
            redis: where it stands.
            books: what it is filled from.
            hold_seconds: how long lock sets last.
            quiet_ms: how long a product must not have moved before a difference counts as one. Longer than a batch
                takes from here to the books, and than a consumer waits before it tries again.
        """
        self._redis = redis
        self._books = books
        self._hold_seconds = hold_seconds
        self._quiet_ms = quiet_ms
        self._reserve = Script("reserve")
        self._release = Script("release")
        self._correct = Script("correct")

    async def admit(self, claims: Sequence[Claim]) -> list[Refusal | None]:
        """For each claim in turn, takes all its units (None) or none of them (why not).

        Raises:
            GateAway: if Redis refuses to work, or loses the counters faster than they are filled.
        """
        verdicts: dict[int, Refusal | None] = {}
        asked = list(range(len(claims)))
        for _ in range(_ROUNDS):
            answers = await self._run(self._reserve, [self._reserve_call(claims[i]) for i in asked])
            wiped, unknown = False, set[str]()
            for i, (answer, *product_ids) in zip(asked, answers, strict=True):
                ANSWERS.labels(answer).inc()
                if answer == "ok":
                    verdicts[i] = None
                elif answer == "short":
                    verdicts[i] = Refusal(FailureReason.OUT_OF_STOCK, tuple(product_ids))
                elif answer == "unknown":
                    unknown.update(product_ids)
                else:
                    wiped = True
            if wiped:
                await self.fill()
            if unknown:
                absent = unknown - await self._take_over(unknown, at_once=False)
                for i in asked:
                    if ghosts := tuple(p for p in claims[i].units if p in absent):
                        verdicts.setdefault(i, Refusal(FailureReason.UNKNOWN_PRODUCT, ghosts))
            asked = [i for i in asked if i not in verdicts]
            if not asked:
                return [verdicts[i] for i in range(len(claims))]
        raise GateAway("the counters vanish faster than they can be filled")

    async def give_back(self, claims: Sequence[Claim]) -> None:
        """Makes the claims' units available again; where Redis lost track of them, by what the books say."""
        answers = await self._run(self._release, [self._release_call(claim) for claim in claims])
        await self.follow({product_id for untracked in answers for product_id in untracked})

    async def forget(self, claims: Sequence[Claim]) -> None:
        """Takes the orders out of the lock sets; the counters stay as they are."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for claim in claims:
                for product_id in claim.units:
                    pipeline.srem(stock_lock(product_id), claim.order_id)
            await pipeline.execute()

    async def follow(self, product_ids: Collection[str]) -> None:
        """Takes over what the books say of these products now."""
        await self._take_over(product_ids, at_once=True)

    async def suspect(self, product_ids: Collection[str]) -> None:
        """Has these products compared with the books once they are quiet."""
        if product_ids:
            now = await self._now()
            await self._redis.zadd(TOUCHED, dict.fromkeys(product_ids, now))

    async def fill(self) -> Tally[str]:
        """Goes over all products: fills what is missing, corrects what is wrong and quiet. Then sets the marker."""
        run_id = await self._run_id()
        outcomes: Tally[str] = Tally()
        last = FIRST_PRODUCT
        while page := await self._books.available_after(last, _PAGE):
            compared = await self.compare(dict(page), seen=dict.fromkeys(dict(page), "*"))
            outcomes.update(comparison.outcome for comparison in compared)
            last = page[-1][0]
        await self._redis.set(MARKER, run_id)
        log.info("gate.filled", products=outcomes.total(), **outcomes)
        return outcomes

    async def doubtful(self) -> bool:
        """Whether Redis was wiped, or has restarted, since the counters were last filled."""
        return bool(await self._redis.get(MARKER) != await self._run_id())

    async def quiet(self, limit: int) -> list[str]:
        """The products, longest first, that moved and have been quiet since."""
        before = await self._now() - self._quiet_ms
        found = await self._redis.zrange(TOUCHED, "-inf", before, byscore=True, offset=0, num=limit)
        return [str(product_id) for product_id in found]

    async def compare(
        self, available: Mapping[str, int], *, seen: Mapping[str, str], at_once: bool = False
    ) -> list[Comparison]:
        """Compares counters with the books, and corrects those that are quiet and as wrong as an earlier look saw.

        Args:
            available: what the books have of each product.
            seen: the wrong counter that an earlier look saw; ``*`` stands for any.
            at_once: corrects whatever is wrong, quiet or not.
        """
        quiet_ms = -1 if at_once else self._quiet_ms
        products = list(available)
        calls = [([TOUCHED, stock(p)], [p, str(available[p]), str(quiet_ms), seen.get(p, "")]) for p in products]
        answers = await self._run(self._correct, calls)
        compared = [
            Comparison(p, available[p], outcome, counter)
            for p, (outcome, counter) in zip(products, answers, strict=True)
        ]
        for comparison in compared:
            COMPARED.labels(comparison.outcome).inc()
            if comparison.outcome == "corrected" and not at_once:
                log.warning(
                    "gate.corrected",
                    product_id=comparison.product_id,
                    counter=comparison.counter,
                    available=comparison.available,
                )
        return compared

    async def counters(self, product_ids: Sequence[str]) -> dict[str, int | None]:
        """What Redis says can still be reserved; None where it knows nothing."""
        values = await self._redis.mget([stock(p) for p in product_ids]) if product_ids else []
        return {p: None if value is None else int(value) for p, value in zip(product_ids, values, strict=True)}

    async def _take_over(self, product_ids: Collection[str], *, at_once: bool) -> set[str]:
        if not product_ids:
            return set()
        available = await self._books.available(product_ids)
        await self.compare(available, seen={}, at_once=at_once)
        if absent := set(product_ids) - set(available):
            await self._redis.delete(*[stock(p) for p in absent])
        return set(available)

    def _reserve_call(self, claim: Claim) -> tuple[list[str], list[str]]:
        keys, arguments = [MARKER, TOUCHED], [claim.order_id, str(self._hold_seconds)]
        for product_id, units in claim.units.items():
            keys += [stock(product_id), stock_lock(product_id)]
            arguments += [product_id, str(units)]
        return keys, arguments

    def _release_call(self, claim: Claim) -> tuple[list[str], list[str]]:
        keys, arguments = [TOUCHED], [claim.order_id]
        for product_id, units in claim.units.items():
            keys += [stock(product_id), stock_lock(product_id)]
            arguments += [product_id, str(units)]
        return keys, arguments

    async def _run(self, script: Script, calls: Sequence[tuple[list[str], list[str]]]) -> list[list[str]]:
        answers: list[Any] = [_NOT_LOADED] * len(calls)
        for _ in range(_ROUNDS):
            pending = [i for i, answer in enumerate(answers) if isinstance(answer, redis.exceptions.NoScriptError)]
            if not pending:
                return answers
            async with self._redis.pipeline(transaction=False) as pipeline:
                for i in pending:
                    keys, arguments = calls[i]
                    pipeline.evalsha(script.sha, len(keys), *keys, *arguments)
                for i, answer in zip(pending, await pipeline.execute(raise_on_error=False), strict=True):
                    answers[i] = answer
            await self._raise_or_load(script, answers)
        raise GateAway("Redis loses its scripts faster than they can be loaded")

    async def _raise_or_load(self, script: Script, answers: Sequence[Any]) -> None:
        missing = False
        for answer in answers:
            if isinstance(answer, redis.exceptions.NoScriptError):
                missing = True
            elif isinstance(answer, _REFUSING) or str(answer).startswith("MISCONF"):
                raise GateAway(f"Redis does not take writes: {answer}") from answer
            elif isinstance(answer, Exception):
                raise answer
        if missing:
            await self._redis.script_load(script.source)

    async def _now(self) -> int:
        seconds, microseconds = await self._redis.time()
        return int(seconds * 1000 + microseconds // 1000)

    async def _run_id(self) -> str:
        return str((await self._redis.info("server"))["run_id"])


_NOT_LOADED: Final = redis.exceptions.NoScriptError()
_REFUSING: Final = (
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.TryAgainError,
)
