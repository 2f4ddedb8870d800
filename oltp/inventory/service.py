"""What admins do with stock, and the clock of the holds."""

import datetime as dt
from dataclasses import replace
from typing import Final

from contracts.events import InventoryAdjusted, InventoryHoldExpired
from contracts.products import ProductDirectory
from kit import outbox
from kit.clock import Clock
from kit.db import Database, WriteSession
from oltp.inventory.domain import StockChange
from oltp.inventory.errors import BelowReserved, KeyReused, TooMuchStock, UnknownProduct, UnknownWarehouse
from oltp.inventory.handlers import SOURCE
from oltp.inventory.repository import InventoryRepository, LedgerEntry

MOST_UNITS: Final = 2**31 - 1


class StockService:
    """Changes of stock by an admin, inside one transaction that its caller commits."""

    def __init__(self, session: WriteSession, clock: Clock, products: ProductDirectory) -> None:
        self._session = session
        self._books = InventoryRepository(session)
        self._clock = clock
        self._products = products

    async def change(
        self,
        *,
        product_id: str,
        warehouse_id: str,
        kind: str,
        delta: int,
        reason: str,
        actor_id: str,
        idempotency_key: str,
    ) -> LedgerEntry:
        """Puts ``delta`` units on the shelf (or takes them off), writes it down, and has it announced.

        The same key of the same actor changes stock once: later requests get the first one's entry.

        Raises:
            KeyReused: if the key was used for another change.
            UnknownProduct, UnknownWarehouse: if there is no such thing.
            BelowReserved: if orders hold more units than would be left.
            TooMuchStock: if the units no longer fit a column.
        """
        wanted = LedgerEntry(
            product_id=product_id,
            warehouse_id=warehouse_id,
            kind=kind,
            delta=delta,
            balance=0,
            occurred_at=self._clock.now(),
            reason=reason,
            actor_id=actor_id,
            idempotency_key=idempotency_key,
        )
        if (earlier := await self._books.ledger_entry(actor_id, idempotency_key)) is not None:
            return _same_change(earlier, wanted)
        if not await self._books.warehouse_exists(warehouse_id):
            raise UnknownWarehouse(f"There is no warehouse {warehouse_id}; GET /api/warehouses lists them.")
        level = await self._books.lock_level(product_id, warehouse_id)
        if level is None:
            listed = await self._books.available([product_id])
            if not listed and not await self._products.get_many([product_id]):
                raise UnknownProduct(f"There is no product {product_id}.")
            await self._books.list_products([product_id], wanted.occurred_at)
            level = await self._books.lock_level(product_id, warehouse_id)
        assert level is not None, "a listed product is listed in every warehouse"
        if (earlier := await self._books.ledger_entry(actor_id, idempotency_key)) is not None:
            return _same_change(earlier, wanted)
        balance = level.quantity + delta
        if balance < level.reserved:
            raise BelowReserved(
                f"{level.quantity} units lie there and orders hold {level.reserved}: at most {level.available} can go.",
                quantity=level.quantity,
                reserved=level.reserved,
            )
        if balance > MOST_UNITS:
            raise TooMuchStock(f"{level.quantity} units lie there; at most {MOST_UNITS - level.quantity} can be added.")
        return await self._write(replace(wanted, balance=balance))

    async def _write(self, entry: LedgerEntry) -> LedgerEntry:
        change = StockChange(entry.product_id, entry.warehouse_id, quantity=entry.delta)
        await self._books.move_levels([change], entry.occurred_at)
        written = await self._books.append_ledger([entry])
        if not written:
            raise KeyReused("This key is being used for another change at the same time; take a fresh one.")
        adjusted = InventoryAdjusted(
            product_id=entry.product_id,
            warehouse_id=entry.warehouse_id,
            delta=entry.delta,
            quantity=entry.balance,
            reason=entry.reason,
            actor_id=entry.actor_id or "",
        )
        announced = outbox.announce(adjusted, source=SOURCE, subject=entry.product_id, time=entry.occurred_at)
        await outbox.publish(self._session, [announced])
        return replace(entry, entry_id=written[0])


def _same_change(earlier: LedgerEntry, wanted: LedgerEntry) -> LedgerEntry:
    asked = replace(wanted, balance=earlier.balance, occurred_at=earlier.occurred_at, entry_id=earlier.entry_id)
    if asked != earlier:
        raise KeyReused("This key was used before, for another change; take a fresh one.")
    return earlier


class HoldClock:
    """Says of unpaid holds whose time is over that it is, and says so again until the saga has done something."""

    def __init__(self, database: Database, clock: Clock, *, ask_again: dt.timedelta, batch: int = 500) -> None:
        self._database = database
        self._clock = clock
        self._ask_again = ask_again
        self._batch = batch

    async def tick(self) -> None:
        """Announces every hold that has ended since, each batch in a transaction of its own."""
        while await self._announce() == self._batch:
            pass

    async def _announce(self) -> int:
        now = self._clock.now()
        async with self._database.write() as session:
            expired = await InventoryRepository(session).ask_about_expired(
                now, asked_before=now - self._ask_again, limit=self._batch
            )
            await outbox.publish(
                session,
                [
                    outbox.announce(
                        InventoryHoldExpired(order_id=order_id, expires_at=expires_at),
                        source=SOURCE,
                        subject=order_id,
                        time=now,
                    )
                    for order_id, expires_at in expired
                ],
            )
        return len(expired)
