"""Order history in the document store; every query on it is here, and each one goes by ``_id``.

``order_history`` holds two kinds of document:

* a bucket, ``_id = "{user id}:{yyyy-mm}"``: the customer's orders that were created in that month,
  ``orders.{order id}.placed`` (how it was placed) and ``orders.{order id}.timeline.{sequence}`` (one step each);
* a mark, ``_id = "{user id}"``: ``since`` is the month that the customer's history begins with, once it was built from
  Postgres. ``oversize`` says that a bucket outgrew what a document can hold, so that Postgres answers instead.

Every value is a fact that never changes once written, and every write is a ``$set`` of single facts. So writes commute
and can be repeated: projectors of different partitions, a build from Postgres and a replay of the log may write to one
bucket at once, in any order, and no check of versions is needed. The newest step says where an order stands.

``projector_offsets`` holds the projector's place in each partition, in the same store, so that a store that went back
in time takes its reader back with it.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from pymongo import AsyncMongoClient, InsertOne, UpdateOne
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError, DuplicateKeyError

from contracts.orders import OrderStatus
from kit.bookmarks import OffsetsMoved
from kit.settings import Settings
from oltp.orders.domain import Facts, Item, Placement, Step

log = structlog.get_logger()

Document = dict[str, Any]

DATABASE: Final = "surge"
HISTORY: Final = "order_history"
OFFSETS: Final = "projector_offsets"

_DUPLICATE_KEY: Final = 11000
_TOO_LARGE: Final = frozenset({10334, 17419})
_ATTEMPTS: Final = 5
_WRITES_AT_ONCE: Final = 500
"""So that a request ends well within the client's time-out, however slow the store is."""


def connect(settings: Settings) -> AsyncMongoClient[Document]:
    """A client that gives up quickly: Postgres answers when the store is away."""
    return AsyncMongoClient(
        settings.mongo_url.get_secret_value(),
        serverSelectionTimeoutMS=500,
        connectTimeoutMS=1000,
        socketTimeoutMS=5000,
        maxPoolSize=32,
        appname=f"{settings.instance}.{settings.process}",
    )


def store_of(client: AsyncMongoClient[Document]) -> "HistoryStore":
    """The store in the database that the URL names, or the default one."""
    return HistoryStore(client.get_default_database(DATABASE))


@dataclass(frozen=True, slots=True)
class Entry:
    """Facts of one order, and the bucket that they belong to."""

    user_id: str
    month: str
    facts: Facts


@dataclass(frozen=True, slots=True)
class Mark:
    """What is known of a customer's history as a whole. ``since`` is None until it was built."""

    since: str | None
    oversize: bool


class BucketsContended(ConnectionError):
    """Other writers kept creating the buckets that were to be created; trying again later succeeds."""


def _bucket_id(user_id: str, month: str) -> str:
    return f"{user_id}:{month}"


def _moment(value: dt.datetime) -> str:
    return value.astimezone(dt.UTC).isoformat(timespec="microseconds")


def _placed(placement: Placement) -> Document:
    return {
        "created_at": _moment(placement.created_at),
        "currency": placement.currency,
        "total_amount": placement.total_amount,
        "payment_method": placement.payment_method,
        "items": [
            {
                "product_id": item.product_id,
                "sku": item.sku,
                "name": item.name,
                "category": item.category,
                "quantity": item.quantity,
                "unit_price": item.unit_price,
            }
            for item in placement.items
        ],
    }


def _step(step: Step) -> Document:
    return {
        "type": step.type,
        "previous_status": step.previous_status.value,
        "status": step.status.value,
        "reason": step.reason,
        "occurred_at": _moment(step.occurred_at),
    }


def _facts(order_id: str, document: Mapping[str, Any]) -> Facts:
    placed = document.get("placed")
    placement = None
    if placed is not None:
        placement = Placement(
            created_at=dt.datetime.fromisoformat(placed["created_at"]),
            currency=placed["currency"],
            total_amount=placed["total_amount"],
            payment_method=placed["payment_method"],
            items=tuple(Item(**item) for item in placed["items"]),
        )
    steps = {
        int(sequence): Step(
            sequence=int(sequence),
            type=step["type"],
            previous_status=OrderStatus(step["previous_status"]),
            status=OrderStatus(step["status"]),
            reason=step["reason"],
            occurred_at=dt.datetime.fromisoformat(step["occurred_at"]),
        )
        for sequence, step in document.get("timeline", {}).items()
    }
    return Facts(order_id, placement, steps)


class HistoryStore:
    """The order history of all customers."""

    def __init__(self, database: AsyncDatabase[Document]) -> None:
        self._database = database
        self._history = database[HISTORY]
        self._offsets = database[OFFSETS]

    async def ping(self) -> None:
        """Raises if the store is away."""
        await self._database.command("ping")

    async def mark(self, user_id: str) -> Mark:
        """What is known of a customer's history as a whole."""
        document = await self._history.find_one({"_id": user_id})
        if document is None:
            return Mark(None, False)
        return Mark(document.get("since"), document.get("oversize", False))

    async def complete(self, user_id: str, since: str) -> None:
        """Says that the store holds all of a customer's orders, the first of them in month ``since`` or later."""
        await self._history.update_one({"_id": user_id}, {"$set": {"since": since}}, upsert=True)

    async def forget_marks(self, user_ids: Iterable[str]) -> None:
        """Has the customers' histories built again at the next read (after an import that told no event)."""
        await self._history.bulk_write([UpdateOne({"_id": u}, {"$unset": {"since": ""}}) for u in user_ids])

    async def read(self, user_id: str, months: Sequence[str]) -> dict[str, dict[str, Facts]]:
        """The facts in a customer's buckets, by month and order id."""
        ids = [_bucket_id(user_id, month) for month in months]
        found: dict[str, dict[str, Facts]] = {}
        async for document in self._history.find({"_id": {"$in": ids}}):
            month = document["_id"].rpartition(":")[2]
            found[month] = {key: _facts(key, value) for key, value in document.get("orders", {}).items()}
        return found

    async def write(self, entries: Iterable[Entry]) -> None:
        """Adds facts, one write a bucket. Facts that are there already stay as they are.

        A bucket that cannot take more turns its customer over to Postgres (see :class:`Mark`).
        """
        changes: dict[str, Document] = {}
        for entry in entries:
            change = changes.setdefault(_bucket_id(entry.user_id, entry.month), {})
            path = f"orders.{entry.facts.order_id}"
            if entry.facts.placement is not None:
                change[f"{path}.placed"] = _placed(entry.facts.placement)
            for sequence, step in entry.facts.steps.items():
                change[f"{path}.timeline.{sequence}"] = _step(step)
        pending = [(key, change) for key, change in changes.items() if change]
        for start in range(0, len(pending), _WRITES_AT_ONCE):
            await self._write(pending[start : start + _WRITES_AT_ONCE])

    async def _write(self, pending: list[tuple[str, Document]]) -> None:
        for _ in range(_ATTEMPTS):
            if not pending:
                return
            updates = [UpdateOne({"_id": key}, {"$set": change}, upsert=True) for key, change in pending]
            try:
                await self._history.bulk_write(updates, ordered=False)
                return
            except BulkWriteError as error:
                pending = await self._after_failure(error, pending)
        raise BucketsContended("other writers kept creating the same buckets")

    async def _after_failure(
        self, error: BulkWriteError, pending: Sequence[tuple[str, Document]]
    ) -> list[tuple[str, Document]]:
        """What is to be written again: two writers that create one bucket at once, one of them is told so."""
        failures = error.details.get("writeErrors", []) if error.details else []
        if not failures or any(f["code"] not in {_DUPLICATE_KEY, *_TOO_LARGE} for f in failures):
            raise error
        full = [pending[f["index"]][0] for f in failures if f["code"] in _TOO_LARGE]
        for key in full:
            user_id = key.partition(":")[0]
            log.error("history.bucket_full", bucket=key, user_id=user_id)
            await self._history.update_one({"_id": user_id}, {"$set": {"oversize": True}}, upsert=True)
        return [pending[f["index"]] for f in failures if f["code"] == _DUPLICATE_KEY]

    async def offsets(self, partitions: Iterable[str]) -> dict[str, int]:
        """Where reading goes on, by partition; a partition that was never read is left out."""
        rows = self._offsets.find({"_id": {"$in": list(partitions)}})
        return {row["_id"]: row["offset"] async for row in rows}

    async def advance(self, moves: Mapping[str, tuple[int | None, int]]) -> None:
        """Moves offsets from what they were left at (None: never read) to what they are now.

        Raises:
            OffsetsMoved: if any of them is not what it was left at.
        """
        if not moves:
            return
        updates: list[InsertOne[Document] | UpdateOne] = [
            InsertOne({"_id": partition, "offset": now})
            if left is None
            else UpdateOne({"_id": partition, "offset": left}, {"$set": {"offset": now}})
            for partition, (left, now) in moves.items()
        ]
        try:
            result = await self._offsets.bulk_write(updates, ordered=False)
        except (BulkWriteError, DuplicateKeyError) as error:
            raise OffsetsMoved(f"offsets of {sorted(moves)} were created by somebody else") from error
        if result.matched_count + result.inserted_count != len(moves):
            raise OffsetsMoved(f"offsets of {sorted(moves)} are not what they were left at")
