"""What shipping does: answers the saga's commands, moves parcels by the clock, ships by hand."""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Final

from contracts.commands import CancelShipment, CreateShipment
from contracts.envelope import Envelope, caused_id, registry, reply_to, seal
from kit import outbox
from kit.auth import Principal
from kit.clock import Clock
from kit.db import Database, ReadSession, WriteSession
from kit.errors import NotFound
from kit.kafka import Outcome, Received
from oltp.shipping import domain
from oltp.shipping.carriers import CarrierNetwork
from oltp.shipping.domain import Fulfilment, NotPossible, Progress, State
from oltp.shipping.errors import NotShippable
from oltp.shipping.repository import Record, ShipmentFilter, ShipmentRow, ShippingRepository

SOURCE: Final = "surge/shipping"


def announcements(record: Record, progress: Progress) -> list[Envelope]:
    """The messages of what happened, with the correlation of the command that booked the parcels."""
    return [
        seal(
            happening.message,
            id=caused_id(happening.key, registry.name_of(type(happening.message))),
            source=SOURCE,
            subject=progress.state.order_id,
            time=happening.at,
            correlationid=record.correlation_id,
            traceparent=record.traceparent,
        )
        for happening in progress.happenings
    ]


class CommandService:
    """Answers ``shipping.create`` and ``shipping.cancel``, a batch in one transaction."""

    def __init__(self, clock: Clock, carriers: CarrierNetwork) -> None:
        self._clock = clock
        self._carriers = carriers

    async def answer(self, session: WriteSession, batch: Sequence[Received]) -> Outcome:
        """Decides every command on its order's locked state and stores what changed."""
        repository = ShippingRepository(session)
        now = self._clock.now()
        origins = await repository.locations()
        commands: list[tuple[CreateShipment | CancelShipment, Envelope]] = []
        for received in batch:
            assert isinstance(received.payload, CreateShipment | CancelShipment)
            commands.append((received.payload, received.envelope))
        stored = await repository.lock({command.order_id for command, _ in commands})
        current = dict(stored)
        replies: list[Envelope] = []
        for command, cause in commands:
            before = current.get(command.order_id)
            decision = domain.decide(
                before.state if before else None,
                command,
                cause=cause.id,
                now=now,
                carriers=self._carriers,
                origins=origins,
            )
            if before is None or decision.state is not before.state:
                current[command.order_id] = Record(decision.state, cause.correlationid, cause.traceparent)
            replies.append(reply_to(cause, decision.reply.message, source=SOURCE, time=decision.reply.at))
        changed = [(key, record) for key, record in sorted(current.items()) if stored.get(key) is not record]
        await repository.insert([record for key, record in changed if key not in stored], now)
        await repository.update([record for key, record in changed if key in stored], now)
        return Outcome(messages=replies)


class ParcelClock:
    """Moves the parcels whose time has come, in bounded transactions."""

    def __init__(self, database: Database, clock: Clock, carriers: CarrierNetwork, *, batch: int) -> None:
        self._database = database
        self._clock = clock
        self._carriers = carriers
        self._batch = batch

    async def tick(self) -> None:
        """Moves everything that is due, one bounded transaction after the other."""
        while await self._move() == self._batch:
            pass

    async def _move(self) -> int:
        async with self._database.write() as session:
            repository = ShippingRepository(session)
            now = self._clock.now()
            due = await repository.lock_due(now, self._batch)
            moved: list[Record] = []
            messages: list[Envelope] = []
            for record in due:
                progress = domain.advance(record.state, now=now, carriers=self._carriers)
                moved.append(Record(progress.state, record.correlation_id, record.traceparent))
                messages += announcements(record, progress)
            await repository.update(moved, now)
            await outbox.publish(session, messages)
        return len(due)


class ShipmentService:
    """What customers see of their parcels, and what admins do with them."""

    def __init__(self, session: ReadSession, clock: Clock) -> None:
        self._repository = ShippingRepository(session)
        self._clock = clock

    async def of_order(self, order_id: str, principal: Principal) -> Fulfilment:
        """An order's parcels, for its owner or an admin.

        Raises:
            NotFound: if there are none yet, or they are someone else's.
        """
        record = await self._repository.get(order_id)
        if record is None or not (principal.is_admin or record.state.user_id == principal.user_id):
            raise NotFound("There are no shipments of such an order.")
        return record.state

    async def page(self, narrowed: ShipmentFilter, limit: int) -> tuple[list[ShipmentRow], str | None]:
        """One page of all parcels, and the id after which the next one starts."""
        rows = await self._repository.list_shipments(narrowed, limit + 1)
        more = len(rows) > limit
        return rows[:limit], rows[limit - 1].parcel.shipment_id if more else None

    async def ship(self, session: WriteSession, order_id: str) -> Fulfilment:
        """Hands the order's parcels to their carriers now.

        Raises:
            NotFound: if shipping knows nothing of the order.
            NotShippable: if they are not booked, have left, or were cancelled.
        """
        return await self._act(session, order_id, domain.dispatch)

    async def deliver(self, session: WriteSession, order_id: str) -> Fulfilment:
        """Has the order's parcels arrive now.

        Raises:
            NotFound: if shipping knows nothing of the order.
            NotShippable: if they are not on their way.
        """
        return await self._act(session, order_id, domain.deliver)

    async def _act(self, session: WriteSession, order_id: str, action: Callable[..., Progress]) -> Fulfilment:
        record = (await self._repository.lock([order_id])).get(order_id)
        if record is None:
            raise NotFound("There are no shipments of such an order.")
        now: dt.datetime = self._clock.now()
        try:
            progress = action(record.state, now=now)
        except NotPossible as refused:
            raise NotShippable(_WHY[refused.state], state=refused.state.value) from None
        await self._repository.update([Record(progress.state, record.correlation_id, record.traceparent)], now)
        await outbox.publish(session, announcements(record, progress))
        return progress.state


_WHY: Final = {
    State.UNBOOKED: "No carrier has taken the order yet; it is tried again by itself.",
    State.BOOKED: "The order's parcels have not left yet.",
    State.DISPATCHED: "The order's parcels have left already.",
    State.DELIVERED: "The order was delivered.",
    State.CANCELLED: "The order's parcels were cancelled.",
}
