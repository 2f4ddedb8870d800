"""Messages to the books: a batch at a time, the gate before them, the domain in between.

What is under way when the process dies is taken up by the redelivered batch:

- the gate took units, the books know nothing yet: the gate admits the same order again without taking more;
- the books are written, nothing was sent: the reservation is found and answered as before;
- the books gave units back, the gate did not: the release is repeated there, which counts only once.

Orders of flash sales pass the gate by: its counter says nothing of who may wait. What the books made of them it
follows. Those whose turn comes are told through the outbox, because what brought it about was another order's message.
"""

import asyncio
import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

import structlog

from contracts.commands import FulfilInventory, ReleaseInventory, ReserveInventory
from contracts.envelope import Envelope, reply_to
from contracts.events import InventoryAdjusted, OrderConfirmed, ProductChanged, SaleEnded
from contracts.orders import SaleTerms
from kit import outbox
from kit.clock import Clock
from kit.db import Database, WriteSession
from kit.kafka import Outcome, Received
from oltp.inventory.allotment import Allotment
from oltp.inventory.domain import (
    HOLD,
    Command,
    Decision,
    Refusal,
    Reservation,
    ReservationStatus,
    Stock,
    StockChange,
    decide,
    demand,
    move,
    next_in_line,
)
from oltp.inventory.gate import Claim, Gate
from oltp.inventory.repository import ConcurrentChange, InventoryRepository, LedgerEntry
from oltp.inventory.sale_repository import SaleReads, SaleRepository

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
    follow: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Sales:
    """The flash sales of a batch: their allotments, and what those who wait wait with."""

    allotments: dict[str, Allotment] = field(default_factory=dict)
    commands: dict[str, Envelope] = field(default_factory=dict)

    def of(self, command: Command, reservation: Reservation | None) -> Allotment | None:
        """The allotment that a message moves."""
        if reservation is not None:
            return self.allotments[reservation.claim.sale_id] if reservation.claim is not None else None
        sale = command.sale if isinstance(command, ReserveInventory) else None
        return self.allotments[sale.sale_id] if sale is not None else None

    @property
    def waiting_products(self) -> set[str]:
        """The products of all who wait."""
        commands = [claim.command for allotment in self.allotments.values() for claim in allotment.queue]
        return {line.product_id for command in commands if command is not None for line in command.lines}


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
                done = await self._apply(session, batch)
            if loop.time() - started > self._slow:
                await self._gate.suspect({product_id for claim in done.admitted for product_id in claim.units})
            if done.give_back:
                await self._gate.give_back(done.give_back)
            if done.forget:
                await self._gate.forget(done.forget)
            if done.too_high:
                log.warning("gate.too_high", product_ids=sorted(done.too_high))
            if follow := done.too_high | done.follow:
                await self._gate.follow(follow)
        return Outcome(done.replies)

    async def close_sales(self, ended: Collection[SaleTerms]) -> None:
        """Lets nobody wait in sales any more; those who did are told that there is nothing left."""
        async with self._under_way, self._database.write() as session:
            await SaleRepository(session).know(ended)
            await self._close(session, {terms.sale_id for terms in ended})

    async def close_ended_sales(self) -> None:
        """Does so with those whose time is over."""
        async with self._database.read() as session:
            ended = await SaleReads(session).due(self._clock.now())
        if ended:
            async with self._under_way, self._database.write() as writing:
                await self._close(writing, ended)

    async def _close(self, session: WriteSession, sale_ids: Collection[str]) -> None:
        now = self._clock.now()
        sales = _Sales(*await SaleRepository(session).lock(sale_ids, (), queues=sale_ids))
        for allotment in sales.allotments.values():
            allotment.closed = True
        turns = _take_turns(sales, Stock((), {}), now, self._hold)
        await _tell(session, sales, turns, now)
        await _leave_queue(session, {reservation.order_id: reservation for reservation, _ in turns}, now)
        await SaleRepository(session).save(sales.allotments.values(), now)

    async def observe(self, batch: Sequence[Received]) -> Outcome:
        """Takes note of what happened elsewhere: orders paid, products that are new, stock that changed, sales ended.

        A product that the catalog has is listed in every warehouse. What an admin changed is taken over by the gate
        from the books, not from the message, so that it counts once however often it is delivered.
        """
        if confirmed := [message for message in batch if isinstance(message.payload, OrderConfirmed)]:
            await self.obey(confirmed)
        if ended := [_terms(message.payload) for message in batch if isinstance(message.payload, SaleEnded)]:
            await self.close_sales(ended)
        follow = {m.payload.product_id for m in batch if isinstance(m.payload, InventoryAdjusted)}
        if products := {m.payload.product_id for m in batch if isinstance(m.payload, ProductChanged)}:
            async with self._database.write() as session:
                follow |= await InventoryRepository(session).list_products(products, self._clock.now())
        if follow:
            async with self._under_way:
                await self._gate.follow(follow)
        return Outcome()

    async def _apply(self, session: WriteSession, batch: Sequence[Received]) -> _Done:
        books = InventoryRepository(session)
        now = self._clock.now()
        commands = [cast(Command, message.payload) for message in batch]
        before = await books.lock_reservations({command.order_id for command in commands})
        claims = _new_claims(commands, before)
        verdicts = await self._admit(claims)
        admitted = {order_id: claim for order_id, claim in claims.items() if verdicts[order_id] is None}
        sales = await _lock_sales(session, batch, before)
        queued = {claim.order_id for allotment in sales.allotments.values() for claim in allotment.queue}
        stock = await _lock_stock(books, commands, before, admitted, sales)

        after = dict(before)
        shipped: list[LedgerEntry] = []
        done = _Done(admitted=list(admitted.values()))
        moved: list[StockChange] = []
        for message, command in zip(batch, commands, strict=True):
            order_id = command.order_id
            current = after.get(order_id)
            allotment = sales.of(command, current)
            decision = decide(
                current,
                command,
                stock,
                now,
                hold=self._hold,
                refusal=verdicts.get(order_id),
                allotment=allotment,
            )
            stock.apply(decision.changes)
            moved += decision.changes
            if decision.reservation is not None:
                if allotment is not None:
                    move(allotment, current, decision.reservation)
                    done.follow.update(part.product_id for part in decision.reservation.allocations)
                after[order_id] = decision.reservation
                if decision.reservation.status is ReservationStatus.QUEUED:
                    sales.commands[order_id] = message.envelope
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

        turns = _take_turns(sales, stock, now, self._hold)
        for reservation, decision in turns:
            after[reservation.order_id] = reservation
            moved += decision.changes
            done.follow.update(change.product_id for change in decision.changes)

        if new := [after[order_id] for order_id in after if order_id not in before and order_id not in queued]:
            await books.insert_reservations(new, now)
            if in_sales := [reservation.claim for reservation in new if reservation.claim is not None]:
                await SaleRepository(session).insert_claims(in_sales, sales.commands)
        changed = {order_id: after[order_id] for order_id in after if after[order_id] != before.get(order_id)}
        if held := [changed[order_id] for order_id in before if order_id in changed and order_id not in queued]:
            await books.update_reservations(held, now)
        if left := {order_id: changed[order_id] for order_id in queued if order_id in changed}:
            await _leave_queue(session, left, now)
        await _tell(session, sales, turns, now)
        if sales.allotments:
            await SaleRepository(session).save(sales.allotments.values(), now)
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
        if not isinstance(command, ReserveInventory) or command.sale is not None:
            continue
        if order_id not in before and order_id not in claims:
            claims[order_id] = Claim(order_id, demand(command))
    return claims


async def _lock_sales(session: WriteSession, batch: Sequence[Received], before: dict[str, Reservation]) -> _Sales:
    """The flash sales of a batch's orders; who waits is only asked for where somebody's turn can come."""
    new: dict[str, SaleTerms] = {}
    sale_ids, customers, queues = set[str](), set[str](), set[str]()
    moving = {message.envelope.subject for message in batch if not isinstance(message.payload, ReserveInventory)}
    for message in batch:
        order_id = message.envelope.subject
        current = before.get(order_id)
        if current is not None and current.claim is not None:
            sale_id = current.claim.sale_id
            customers.add(current.claim.customer_id)
        elif current is None and isinstance(message.payload, ReserveInventory) and message.payload.sale is not None:
            sale_id = message.payload.sale.sale_id
            new[sale_id] = message.payload.sale
            customers.add(message.payload.customer_id)
        else:
            continue
        sale_ids.add(sale_id)
        if order_id in moving:
            queues.add(sale_id)
    if not sale_ids:
        return _Sales()
    repository = SaleRepository(session)
    if new:
        await repository.know(new.values())
    return _Sales(*await repository.lock(sale_ids, customers, queues=queues))


def _take_turns(
    sales: _Sales, stock: Stock, now: dt.datetime, hold: dt.timedelta
) -> list[tuple[Reservation, Decision]]:
    """Decides on those who wait until everybody left goes on waiting; moves the stock and the allotments."""
    turns: list[tuple[Reservation, Decision]] = []
    for allotment in sales.allotments.values():
        while (decision := next_in_line(allotment, stock, now, hold=hold)) is not None:
            reservation = decision.reservation
            assert reservation is not None
            assert reservation.claim is not None
            waiting = Reservation(reservation.order_id, ReservationStatus.QUEUED, claim=reservation.claim)
            stock.apply(decision.changes)
            move(allotment, waiting, reservation)
            turns.append((reservation, decision))
    return turns


async def _tell(
    session: WriteSession, sales: _Sales, turns: Sequence[tuple[Reservation, Decision]], now: dt.datetime
) -> None:
    replies = [
        reply_to(sales.commands[reservation.order_id], decision.reply, source=SOURCE, time=now)
        for reservation, decision in turns
        if decision.reply is not None
    ]
    await outbox.publish(session, replies)


async def _leave_queue(session: WriteSession, left: Mapping[str, Reservation], now: dt.datetime) -> None:
    reservations = [left[order_id] for order_id in sorted(left)]
    if not reservations:
        return
    moved = await SaleRepository(session).leave_queue(reservations, now)
    if moved != len(reservations):
        raise ConcurrentChange(f"{len(reservations)} reservations were queued, {moved} still are")
    await InventoryRepository(session).insert_lines(reservations)


async def _lock_stock(
    books: InventoryRepository,
    commands: Sequence[Command],
    before: dict[str, Reservation],
    admitted: dict[str, Claim],
    sales: _Sales,
) -> Stock:
    products = {product_id for claim in admitted.values() for product_id in claim.units} | sales.waiting_products
    for command in commands:
        current = before.get(command.order_id)
        if current is None and isinstance(command, ReserveInventory) and command.sale is not None:
            products.update(line.product_id for line in command.lines)
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


def _terms(ended: SaleEnded) -> SaleTerms:
    return SaleTerms(
        sale_id=ended.sale_id,
        product_id=ended.product_id,
        units=ended.units,
        units_per_customer=ended.units_per_customer,
        ends_at=ended.ended_at,
    )
