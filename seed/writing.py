"""Writes the parts of a shop: what all orders share, the chunks of orders, and at last the stock."""

import hashlib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import asyncpg
import numpy as np
import polars as pl

from oltp.shipping.carriers import CarrierNetwork
from seed import history, marks, stock
from seed.copy import Table, copy, stream
from seed.fraud import FIRST_FRAUD, Kind
from seed.history import Chunk
from seed.ids import Bytes
from seed.rendered import Rendered
from seed.rows import accounts, catalog, experiments, inventory, notifications, orders, payments, shipping
from seed.rows.inventory import Movements, movements
from seed.rows.orders import Payload
from seed.settings import SeedSettings
from seed.wire import hexadecimal

BULK: Final = (
    orders.ORDERS,
    orders.ITEMS,
    orders.TRANSITIONS,
    inventory.RESERVATIONS,
    inventory.LINES,
    inventory.LEDGER,
    payments.PAYMENTS,
    payments.ATTEMPTS,
    payments.REFUNDS,
    payments.DISPUTES,
    shipping.FULFILMENTS,
    shipping.SHIPMENTS,
    notifications.ORDERS,
)
"""The tables whose size grows with the orders'."""

_UNHASHED: Final = "password_hash"
"""The one column that is not the same for the same seed: its salt is random."""


class Digests:
    """What was written into each table, as one short hash each."""

    def __init__(self) -> None:
        self._hashes: dict[str, Any] = {}

    def add(self, target: Table, data: Iterable[memoryview | bytes]) -> None:
        """More of what was written."""
        digest = self._hashes.setdefault(str(target), hashlib.blake2b(digest_size=8))
        for part in data:
            digest.update(part)

    def read(self) -> dict[str, str]:
        """Table → hash."""
        return {name: digest.hexdigest() for name, digest in self._hashes.items()}


class Writer:
    """Writes one world over one connection. ``folder`` keeps what does not go into the database."""

    def __init__(
        self, connection: asyncpg.Connection, rendered: Rendered, network: CarrierNetwork, folder: Path
    ) -> None:
        self._connection = connection
        self._rendered = rendered
        self._network = network
        self._parts = folder / "parts"
        self._parts.mkdir(parents=True, exist_ok=True)

    async def base(self, settings: SeedSettings, *, admin_hash: str, customer_hash: str) -> None:
        """Customers, products, prices, costs, warehouses and experiments, in one transaction."""
        rendered, plan = self._rendered, self._rendered.world.plan
        digests = Digests()
        async with self._connection.transaction():
            for target, rows in self._base_rows(settings, admin_hash, customer_hash):
                await copy(self._connection, target, rows)
                skipped = target.columns.index(_UNHASHED) if _UNHASHED in target.columns else -1
                digests.add(
                    target,
                    (repr((*row[:skipped], *row[skipped + 1 :])).encode() for row in rows)
                    if skipped >= 0
                    else (repr(row).encode() for row in rows),
                )
            await self._stream(catalog.figures(plan, rendered), digests)
            await self._stream(experiments.rows(rendered), digests)
            await marks.note_chunk(self._connection, marks.BASE, 0, digests.read())

    def _base_rows(
        self, settings: SeedSettings, admin_hash: str, customer_hash: str
    ) -> Iterator[tuple[Table, list[tuple[Any, ...]]]]:
        rendered, world = self._rendered, self._rendered.world
        yield accounts.admin(rendered.admin_id, settings.admin_email.lower(), admin_hash, world.plan.start)
        yield from accounts.rows(world.people.customers, password_hash=customer_hash)
        yield from catalog.rows(
            world.goods, categories=rendered.categories, currency=rendered.currency, actor_id=rendered.admin_id
        )
        yield from inventory.sites(rendered.warehouses)
        yield from shipping.base(rendered.warehouses)
        yield from notifications.base(world.people.customers)
        yield from experiments.base(rendered)

    async def chunk(self, numbers: range) -> int:
        """The orders with these numbers and all that belongs to them, in one transaction; returns how many rows."""
        rendered, plan = self._rendered, self._rendered.world.plan
        part = history.chunk(rendered.world, numbers)
        number = numbers.start // plan.chunk
        self._keep(number, part)
        digests = Digests()
        async with self._connection.transaction():
            rows = await self._stream(self._chunk_rows(part), digests)
            await marks.note_chunk(self._connection, number, len(part), digests.read())
        return rows

    def _chunk_rows(self, part: Chunk) -> Iterator[tuple[Table, Payload]]:
        yield from orders.rows(part, self._rendered)
        yield from inventory.rows(part, self._rendered)
        yield from payments.rows(part, self._rendered)
        yield from shipping.rows(part, self._rendered, self._network)
        yield from notifications.rows(part, self._rendered)

    async def stock(self) -> None:
        """Levels and the ledger, which follow from what all chunks moved; in one transaction."""
        rendered, world = self._rendered, self._rendered.world
        levels = stock.stock(world.plan, world.goods.draft, world.stocked, self._moved())
        digests = Digests()
        async with self._connection.transaction():
            await self._stream(inventory.stock_rows(rendered, levels), digests)
            await marks.note_chunk(self._connection, marks.STOCK, 0, digests.read())

    async def _stream(self, tables: Iterable[tuple[Table, Payload]], digests: Digests) -> int:
        rows = 0
        for target, payload in tables:
            rows += await stream(self._connection, target, payload)
            digests.add(target, payload)
        return rows

    def _keep(self, number: int, part: Chunk) -> None:
        """Files what later steps need of a chunk, so that nothing is drawn twice."""
        moved = movements(self._rendered.world.plan, part)
        buffer = io.BytesIO()
        np.savez(
            buffer,
            settled=np.stack(moved.settled),
            held=np.stack(moved.held),
            orders=moved.shipped_orders,
            shipped=np.stack(moved.shipped),
        )
        self._movements(number).write_bytes(buffer.getvalue())
        truth(part, self._rendered.world.people.ids).write_parquet(self._truth(number))

    def _movements(self, number: int) -> Path:
        return self._parts / f"movements-{number:05d}.npz"

    def _truth(self, number: int) -> Path:
        return self._parts / f"truth-{number:05d}.parquet"

    def _moved(self) -> Iterator[Movements]:
        plan = self._rendered.world.plan
        for numbers in plan.chunks():
            number = numbers.start // plan.chunk
            if not self._movements(number).exists():
                self._keep(number, history.chunk(self._rendered.world, numbers))
            with np.load(self._movements(number)) as kept:
                yield Movements(
                    settled=(kept["settled"][0], kept["settled"][1]),
                    held=(kept["held"][0], kept["held"][1]),
                    shipped_orders=kept["orders"],
                    shipped=(kept["shipped"][0], kept["shipped"][1], kept["shipped"][2]),
                )

    def join_truth(self, target: Path) -> int:
        """One file of what every order with a story is; returns how many. The parts are deleted."""
        plan = self._rendered.world.plan
        files = [self._truth(numbers.start // plan.chunk) for numbers in plan.chunks()]
        pl.concat([pl.read_parquet(file) for file in files] or [pl.DataFrame()]).write_parquet(target)
        count = int(pl.scan_parquet(target).select(pl.len()).collect().item()) if files else 0
        for file in self._parts.iterdir():
            file.unlink()
        self._parts.rmdir()
        return count


def truth(part: Chunk, customers: Bytes) -> pl.DataFrame:
    """What the orders are that are fraud, or honest and hard to tell from it."""
    chosen = np.flatnonzero(part.suspicion.kind != Kind.PLAIN)
    kind = part.suspicion.kind[chosen]
    return pl.DataFrame(
        {
            "order_id": pl.Series(hexadecimal(part.ids[chosen]).astype("U36"), dtype=pl.String),
            "user_id": pl.Series(
                hexadecimal(customers[part.suspicion.customer[chosen]]).astype("U36"), dtype=pl.String
            ),
            "created_at": pl.Series(part.created[chosen], dtype=pl.Int64).cast(pl.Datetime("ms", "UTC")),
            "kind": pl.Series([entry.name.lower() for entry in map(Kind, kind.tolist())], dtype=pl.String),
            "is_fraud": pl.Series(kind >= FIRST_FRAUD, dtype=pl.Boolean),
        }
    )
