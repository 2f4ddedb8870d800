"""Messages to the books: a batch at a time, the gate before them, the domain in between.

What is under way when the process dies is taken up by the redelivered batch:

- the gate took units, the books know nothing yet: the gate admits the same order again without taking more;
- the books are written, nothing was sent: the reservation is found and answered as before;
- the books gave units back, the gate did not: the release is repeated there, which counts only once.
"""

import asyncio
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, cast

import structlog

from contracts.commands import FulfilInventory, ReleaseInventory, ReserveInventory
from contracts.envelope import Envelope, reply_to
from contracts.events import InventoryAdjusted, OrderConfirmed, ProductChanged
from kit.clock import Clock
from kit.db import Database
from kit.kafka import Outcome, Received
from oltp.inventory.domain import (
    HOLD,
    Command,
    Refusal,
    Reservation,
    ReservationStatus,
    Stock,
    StockChange,
    decide,
    demand,
)
from oltp.inventory.gate import Claim, Gate
from oltp.inventory.repository import InventoryRepository, LedgerEntry

log = structlog.get_logger()

SOURCE: Final = "surge/inventory"


@dataclass(slots=True)
class _Done:
    """What a batch led to in the books, and what the gate is to be told now that they are committed."""

    replies: list[Envelope] = field(default_factory=list)
    give_back: list[Claim] = field(default_factory=list)
    forget: list[Claim] = field(default_factory=list)
    too_high: set[str] = field(default_factory=set)
    admitted: list[Claim] = field(default_factory=list)


class StockKeeper:
    """Applies messages to the books, and keeps the gate in step with them."""

    def __init__(
        self,
        database: Database,
        gate: Gate,
        clock: Clock,
        *,
        hold: dt.timedelta = HOLD,
        slow: dt.timedelta = dt.timedelta(seconds=2),
    ) -> None:
        """A keeper of ``database``'s books.

        Args:
            database: where the books are.
            gate: what stands before them.
            clock: tells when a hold begins.
            hold: how long an unpaid order keeps its units.
            slow: a batch that takes longer from the gate to the books has its products compared again, since
                somebody may have taken the difference for an error meanwhile.
        """
        self._database = database
        self._gate = gate
        self._clock = clock
        self._hold = hold
        self._slow = slow.total_seconds()
        self._under_way = asyncio.Lock()

    async def obey(self, batch: Sequence[Received]) -> Outcome:
        """Applies commands and confirmations: one transaction for the batch, then the gate, then the replies.

        Raises:
            InvalidDemand: if a reserve asks for nothing.
        """
        loop = asyncio.get_running_loop()
        async with self._under_way:
            started = loop.time()
            async with self._database.write() as session:
                done = await self._apply(InventoryRepository(session), batch)
            if loop.time() - started > self._slow:
                await self._gate.suspect({product_id for claim in done.admitted for product_id in claim.units})
            if done.give_back:
                await self._gate.give_back(done.give_back)
            if done.forget:
                await self._gate.forget(done.forget)
            if done.too_high:
                log.warning("gate.too_high", product_ids=sorted(done.too_high))
                await self._gate.follow(done.too_high)
        return Outcome(done.replies)

    async def observe(self, batch: Sequence[Received]) -> Outcome:
        """Takes note of what happened elsewhere: orders that were paid, products that are new, stock that changed.

        A product that the catalog has is listed in every warehouse. What an admin changed is taken over by the gate
        from the books, not from the message, so that it counts once however often it is delivered.
        """
        if confirmed := [message for message in batch if isinstance(message.payload, OrderConfirmed)]:
            await self.obey(confirmed)
        follow = {m.payload.product_id for m in batch if isinstance(m.payload, InventoryAdjusted)}
        if products := {m.payload.product_id for m in batch if isinstance(m.payload, ProductChanged)}:
            async with self._database.write() as session:
                follow |= await InventoryRepository(session).list_products(products, self._clock.now())
        if follow:
            async with self._under_way:
                await self._gate.follow(follow)
        return Outcome()

    async def _apply(self, books: InventoryRepository, batch: Sequence[Received]) -> _Done:
        now = self._clock.now()
        commands = [cast(Command, message.payload) for message in batch]
        before = await books.lock_reservations({command.order_id for command in commands})
        claims = _new_claims(commands, before)
        verdicts = await self._admit(claims)
        admitted = {order_id: claim for order_id, claim in claims.items() if verdicts[order_id] is None}
        stock = await _lock_stock(books, commands, before, admitted)

        after = dict(before)
        shipped: list[LedgerEntry] = []
        done = _Done(admitted=list(admitted.values()))
        moved: list[StockChange] = []
        for message, command in zip(batch, commands, strict=True):
            order_id = command.order_id
            decision = decide(after.get(order_id), command, stock, now, hold=self._hold, refusal=verdicts.get(order_id))
            stock.apply(decision.changes)
            moved += decision.changes
            if decision.reservation is not None:
                after[order_id] = decision.reservation
            shipped += [
                LedgerEntry(
                    product_id=change.product_id,
                    warehouse_id=change.warehouse_id,
                    kind="shipped",
                    delta=change.quantity,
                    balance=stock.level(change.product_id, change.warehouse_id).quantity,
                    occurred_at=now,
                    order_id=order_id,
                )
                for change in decision.changes
                if change.quantity
            ]
            if decision.reply is not None:
                done.replies.append(reply_to(message.envelope, decision.reply, source=SOURCE, time=now))
            elif isinstance(command, FulfilInventory):
                log.error("inventory.nothing_to_fulfil", order_id=order_id, reservation=after.get(order_id))

        if new := [after[order_id] for order_id in after if order_id not in before]:
            await books.insert_reservations(new, now)
        if changed := [after[order_id] for order_id in before if after[order_id] != before[order_id]]:
            await books.update_reservations(changed, now)
        await books.move_levels(moved, now)
        await books.append_ledger(shipped)
        _tell_gate(done, commands, after, admitted)
        return done

    async def _admit(self, claims: dict[str, Claim]) -> dict[str, Refusal | None]:
        if not claims:
            return {}
        return dict(zip(claims, await self._gate.admit(list(claims.values())), strict=True))


def _new_claims(commands: Sequence[Command], before: dict[str, Reservation]) -> dict[str, Claim]:
    claims: dict[str, Claim] = {}
    for command in commands:
        order_id = command.order_id
        if isinstance(command, ReserveInventory) and order_id not in before and order_id not in claims:
            claims[order_id] = Claim(order_id, demand(command))
    return claims


async def _lock_stock(
    books: InventoryRepository,
    commands: Sequence[Command],
    before: dict[str, Reservation],
    admitted: dict[str, Claim],
) -> Stock:
    products = {product_id for claim in admitted.values() for product_id in claim.units}
    for command in commands:
        current = before.get(command.order_id)
        if current is not None and isinstance(command, ReleaseInventory | FulfilInventory):
            products.update(allocation.product_id for allocation in current.allocations)
    return await books.lock_stock(products) if products else Stock((), {})


def _tell_gate(
    done: _Done, commands: Sequence[Command], after: dict[str, Reservation], admitted: dict[str, Claim]
) -> None:
    """Notes what the gate has to be told: by how the orders stand in the end, whatever happened on the way."""
    released = {command.order_id for command in commands if isinstance(command, ReleaseInventory)}
    fulfilled = {command.order_id for command in commands if isinstance(command, FulfilInventory)}
    for order_id, reservation in after.items():
        if reservation.status is ReservationStatus.FULFILLED and order_id in fulfilled:
            done.forget.append(_claim(reservation))
        elif order_id in admitted and reservation.status is not ReservationStatus.HELD:
            done.give_back.append(admitted[order_id])
            done.too_high.update(reservation.product_ids)
        elif reservation.status is ReservationStatus.RELEASED and order_id in released and reservation.allocations:
            done.give_back.append(_claim(reservation))


def _claim(reservation: Reservation) -> Claim:
    units: dict[str, int] = {}
    for allocation in reservation.allocations:
        units[allocation.product_id] = units.get(allocation.product_id, 0) + allocation.quantity
    return Claim(reservation.order_id, units)
