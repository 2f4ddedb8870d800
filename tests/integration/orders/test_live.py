"""WebSockets: every transition, once, in order, to whoever may see it, whatever breaks in between."""

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from contracts import redis_keys
from contracts.events import ShipmentMoved
from contracts.orders import OrderStatus
from kit.auth import Role
from kit.ids import new_id
from kit.kafka import Received
from kit.resources import Resources
from oltp.orders import live
from oltp.orders.projector import parcels_forwarder
from tests.integration.orders.conftest import WHOLE_LIFE, Api, Customer, accept

S = OrderStatus
NOW = dt.datetime(2026, 11, 27, 8, tzinfo=dt.UTC)
Frame = dict[str, Any]


async def receive(socket: ClientConnection) -> Frame:
    """The next message that says something."""
    while True:
        async with asyncio.timeout(10):
            frame: Frame = orjson.loads(await socket.recv())
        if frame["type"] != "ping":
            return frame


async def receive_until(socket: ClientConnection, status: str) -> list[Frame]:
    """Messages up to the first one with a status."""
    frames = [await receive(socket)]
    while frames[-1]["status"] != status:
        frames.append(await receive(socket))
    return frames


@asynccontextmanager
async def following(
    api: Api, path: str, customer: Customer, role: Role = Role.CUSTOMER
) -> AsyncIterator[ClientConnection]:
    async with connect(f"{api.ws}{path}", additional_headers=customer.headers(role)) as socket:
        yield socket


async def read_to_the_end(socket: ClientConnection) -> None:
    """Reads until the socket is closed."""
    async with asyncio.timeout(30):
        while True:
            await socket.recv()


async def closing_code(socket: ClientConnection) -> int:
    """The code that the shop closes the socket with."""
    with pytest.raises(ConnectionClosed) as closed:
        await read_to_the_end(socket)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


async def test_one_order_from_the_snapshot_to_its_end(api: Api, customer: Customer) -> None:
    order_id = await customer.place()

    async with following(api, f"/ws/orders/{order_id}", customer) as socket:
        snapshot = await receive(socket)
        await customer.move(order_id, *WHOLE_LIFE)
        frames = await receive_until(socket, "delivered")

    assert snapshot["type"] == "snapshot"
    assert (snapshot["status"], snapshot["sequence"], snapshot["queue_position"]) == ("pending", 1, 0)
    assert [step["type"] for step in snapshot["transitions"]] == ["order.created"]
    assert [frame["status"] for frame in frames] == [status.value for status in WHOLE_LIFE]
    assert [frame["type"] for frame in frames][:2] == ["order.reserved", "order.confirmed"]
    assert [frame["sequence"] for frame in frames] == sorted({frame["sequence"] for frame in frames})


async def test_gateways_share_what_the_saga_publishes(api: Api, second_api: Api, customer: Customer) -> None:
    order_id = await customer.place()

    async with (
        following(api, f"/ws/orders/{order_id}", customer) as one,
        following(second_api, f"/ws/orders/{order_id}", customer) as two,
        following(second_api, "/ws/me", customer) as mine,
    ):
        for socket in (one, two, mine):
            await receive(socket)
        await customer.move(order_id, *WHOLE_LIFE)

        stories = [await receive_until(socket, "delivered") for socket in (one, two, mine)]

    assert stories[0] == stories[1] == stories[2]


async def test_a_reconnect_resumes_after_the_last_transition_that_was_seen(api: Api, customer: Customer) -> None:
    order_id = await customer.place()
    async with following(api, f"/ws/orders/{order_id}", customer) as socket:
        await receive(socket)
        await customer.move(order_id, S.AWAITING_PAYMENT, S.CONFIRMED)
        seen = (await receive_until(socket, "confirmed"))[-1]["sequence"]

    await customer.move(order_id, S.PROCESSING, S.SHIPPED)
    async with following(api, f"/ws/orders/{order_id}?last_seen={seen}", customer) as socket:
        snapshot = await receive(socket)
        await customer.move(order_id, S.DELIVERED)
        frames = await receive_until(socket, "delivered")

    assert [step["status"] for step in snapshot["transitions"]] == ["processing", "shipped"]
    assert [frame["status"] for frame in frames] == ["delivered"]


async def test_my_orders_resume_since_a_moment(api: Api, customer: Customer) -> None:
    first, second = await customer.place(), await customer.place()
    async with following(api, "/ws/me", customer) as socket:
        snapshot = await receive(socket)
        await customer.move(first, S.AWAITING_PAYMENT)
        since = (await receive(socket))["occurred_at"]

    await customer.move(second, S.AWAITING_PAYMENT, S.CONFIRMED)
    async with following(api, f"/ws/me?since={since.replace('+00:00', 'Z')}", customer) as socket:
        resumed = await receive(socket)

    assert {order["order_id"] for order in snapshot["orders"]} == {first, second}
    assert resumed["resumed"]
    missed = [(step["order_id"], step["status"]) for step in resumed["transitions"]]
    assert missed[-2:] == [(second, "awaiting_payment"), (second, "confirmed")]
    assert {(order["order_id"], order["status"]) for order in resumed["orders"]} == {
        (first, "awaiting_payment"),
        (second, "confirmed"),
    }


async def test_too_long_an_absence_is_not_resumed(api: Api, customer: Customer) -> None:
    async with following(api, "/ws/me?since=2020-01-01T00:00:00Z", customer) as socket:
        snapshot = await receive(socket)

    assert not snapshot["resumed"]
    assert snapshot["transitions"] == []


async def test_an_accepted_order_can_be_followed_before_the_saga_has_written_it(
    api: Api, customer: Customer, resources: Resources
) -> None:
    envelope = customer.created()
    await accept(resources.redis, envelope, offset=7)

    async with following(api, f"/ws/orders/{envelope.subject}", customer) as socket:
        snapshot = await receive(socket)
        await customer.deliver(envelope)
        await customer.move(envelope.subject, S.AWAITING_PAYMENT)
        frames = await receive_until(socket, "awaiting_payment")

    assert (snapshot["status"], snapshot["queue_position"]) == ("pending", 7)
    assert [frame["sequence"] for frame in frames] == [2]


class TestTurnedAway:
    async def test_without_a_word_in_time(self, api: Api, customer: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(live, "AUTH_SECONDS", 0.2)
        async with connect(f"{api.ws}/ws/me") as socket:
            assert await closing_code(socket) == 4401

    @pytest.mark.parametrize("header", ["Bearer nonsense", "Bearer "])
    async def test_with_a_bad_token(self, api: Api, header: str) -> None:
        async with connect(f"{api.ws}/ws/me", additional_headers={"Authorization": header}) as socket:
            assert await closing_code(socket) == 4401

    async def test_from_somebody_elses_order(self, api: Api, customer: Customer, other: Customer) -> None:
        order_id = await customer.place()
        async with following(api, f"/ws/orders/{order_id}", other) as socket:
            assert await closing_code(socket) == 4404

    async def test_from_an_order_that_is_none(self, api: Api, customer: Customer) -> None:
        async with following(api, f"/ws/orders/{uuid.uuid4()}", customer) as socket:
            assert await closing_code(socket) == 4404

    async def test_with_too_many_sockets(self, api: Api, customer: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(live, "SOCKETS_A_USER", 1)
        async with following(api, "/ws/me", customer) as first:
            await receive(first)
            async with following(api, "/ws/me", customer) as second:
                assert await closing_code(second) == 4429


class TestLetIn:
    async def test_by_subprotocol(self, api: Api, customer: Customer) -> None:
        offered = [Subprotocol("bearer"), Subprotocol(customer.token())]
        async with connect(f"{api.ws}/ws/me", subprotocols=offered) as socket:
            assert socket.subprotocol == "bearer"
            assert (await receive(socket))["type"] == "snapshot"

    async def test_by_first_message(self, api: Api, customer: Customer) -> None:
        async with connect(f"{api.ws}/ws/me") as socket:
            await socket.send(orjson.dumps({"type": "auth", "token": customer.token()}).decode())
            assert (await receive(socket))["type"] == "snapshot"

    async def test_to_anybodys_order_as_an_admin(self, api: Api, customer: Customer, other: Customer) -> None:
        order_id = await customer.place()
        async with following(api, f"/ws/orders/{order_id}", other, Role.ADMIN) as socket:
            assert (await receive(socket))["order_id"] == order_id


class TestTokens:
    async def test_an_expired_one_closes_the_socket(self, api: Api, customer: Customer) -> None:
        short = customer.resources.settings.model_copy(update={"access_token_seconds": 1})
        headers = {"Authorization": f"Bearer {customer.token(settings=short)}"}
        async with connect(f"{api.ws}/ws/me", additional_headers=headers) as socket:
            assert (await receive(socket))["type"] == "snapshot"
            assert await closing_code(socket) == 4401

    async def test_a_fresh_one_keeps_it_open(self, api: Api, customer: Customer) -> None:
        short = customer.resources.settings.model_copy(update={"access_token_seconds": 1})
        headers = {"Authorization": f"Bearer {customer.token(settings=short)}"}
        async with connect(f"{api.ws}/ws/me", additional_headers=headers) as socket:
            await receive(socket)
            await socket.send(orjson.dumps({"type": "auth", "token": customer.token()}).decode())
            await asyncio.sleep(1.2)
            order_id = await customer.place()
            await customer.move(order_id, S.AWAITING_PAYMENT)
            assert (await receive(socket))["order_id"] == order_id

    async def test_somebody_elses_closes_it(self, api: Api, customer: Customer, other: Customer) -> None:
        async with following(api, "/ws/me", customer) as socket:
            await receive(socket)
            await socket.send(orjson.dumps({"type": "auth", "token": other.token()}).decode())
            assert await closing_code(socket) == 4401


class TestLosses:
    async def test_a_lost_message_is_read_again(self, api: Api, customer: Customer) -> None:
        order_id = await customer.place()
        async with (
            following(api, f"/ws/orders/{order_id}", customer) as one,
            following(api, "/ws/me", customer) as mine,
        ):
            await receive(one)
            await receive(mine)
            await customer.move(order_id, S.AWAITING_PAYMENT)
            await customer.move(order_id, S.CONFIRMED, publish=False)
            await customer.move(order_id, S.PROCESSING)

            stories = [await receive_until(socket, "processing") for socket in (one, mine)]

        for story in stories:
            assert [frame["status"] for frame in story] == ["awaiting_payment", "confirmed", "processing"]

    async def test_a_repeated_message_is_not_sent_twice(
        self, api: Api, customer: Customer, resources: Resources
    ) -> None:
        order_id = await customer.place()
        async with following(api, f"/ws/orders/{order_id}", customer) as socket:
            await receive(socket)
            step = customer.step(order_id, S.AWAITING_PAYMENT)
            await customer.deliver(step)
            await customer.deliver(step)
            await customer.move(order_id, S.CONFIRMED)
            frames = await receive_until(socket, "confirmed")

        assert [frame["status"] for frame in frames] == ["awaiting_payment", "confirmed"]

    async def test_a_broken_connection_to_redis_heals(self, api: Api, customer: Customer, resources: Resources) -> None:
        orders = [await customer.place() for _ in range(3)]
        sockets = [await connect(f"{api.ws}/ws/orders/{o}", additional_headers=customer.headers()) for o in orders]
        async with following(api, "/ws/me", customer) as mine:
            for socket in (*sockets, mine):
                await receive(socket)
            await break_hub(api, resources)
            for order_id in orders:
                await customer.move(order_id, S.AWAITING_PAYMENT, publish=False)
            for order_id in orders:
                await customer.move(order_id, S.CONFIRMED)

            for socket in sockets:
                story = await receive_until(socket, "confirmed")
                assert [frame["status"] for frame in story] == ["awaiting_payment", "confirmed"]
            mixed = [await receive(mine) for _ in range(6)]

        assert sorted((frame["order_id"], frame["sequence"]) for frame in mixed) == sorted(
            (order_id, sequence) for order_id in orders for sequence in (2, 3)
        )
        for socket in sockets:
            await socket.close()

    async def test_a_transition_while_redis_is_gone_comes_without_another_one(
        self, api: Api, customer: Customer, resources: Resources
    ) -> None:
        order_id = await customer.place()
        async with following(api, f"/ws/orders/{order_id}", customer) as socket:
            await receive(socket)
            await customer.move(order_id, S.AWAITING_PAYMENT, publish=False)
            await break_hub(api, resources)

            assert (await receive(socket))["status"] == "awaiting_payment"

    async def test_an_unreadable_message_harms_nobody(self, api: Api, customer: Customer, resources: Resources) -> None:
        order_id = await customer.place()
        async with following(api, f"/ws/orders/{order_id}", customer) as socket:
            await receive(socket)
            for nonsense in ("{", "[]", "{}", '{"occurred_at": 3}'):
                await resources.redis.publish(redis_keys.order_channel(order_id), nonsense)
            await customer.move(order_id, S.AWAITING_PAYMENT)

            assert (await receive(socket))["status"] == "awaiting_payment"


async def break_hub(api: Api, resources: Resources) -> None:
    """Has Redis throw the hub's connection out."""
    name = f"{api.live.settings.instance}.{api.live.settings.process}.live"
    clients = [client for client in await resources.redis.client_list(_type="pubsub") if client["name"] == name]
    assert clients, "the hub has one pub/sub connection"
    assert len(clients) == 1
    await resources.redis.client_kill_filter(_id=clients[0]["id"])


async def test_a_client_that_does_not_read_is_dropped(
    api: Api, customer: Customer, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = await customer.place()
    other_id = await customer.place()
    async with (
        connect(
            f"{api.ws}/ws/orders/{order_id}", additional_headers=customer.headers(), max_queue=1, close_timeout=0.2
        ) as slow,
        following(api, f"/ws/orders/{other_id}", customer) as attentive,
    ):
        await receive(attentive)
        big = {"type": "shipment.moved", "order_id": order_id, "filler": "x" * 200_000}
        text = orjson.dumps({**big, "occurred_at": dt.datetime.now(dt.UTC)}).decode()
        for _ in range(live.QUEUE_LENGTH + 200):
            await resources.redis.publish(redis_keys.order_channel(order_id), text)
        await customer.move(other_id, S.AWAITING_PAYMENT)

        assert (await receive(attentive))["status"] == "awaiting_payment"
        slow.transport.resume_reading()
        with pytest.raises(ConnectionClosed):
            await read_to_the_end(slow)


async def test_parcels_are_passed_on(api: Api, customer: Customer, resources: Resources) -> None:
    order_id = await customer.place()
    moved = ShipmentMoved(
        order_id=order_id,
        user_id=customer.user_id,
        shipment_id=new_id(),
        status="in_transit",
        latitude=1.5,
        longitude=2.5,
        estimated_delivery=NOW,
        occurred_at=NOW,
    )
    envelope = customer.seal(order_id, moved)
    async with (
        following(api, f"/ws/orders/{order_id}", customer) as one,
        following(api, "/ws/me", customer) as mine,
    ):
        for socket in (one, mine):
            await receive(socket)
        await parcels_forwarder(resources.redis)([Received(envelope, moved, "test", 0, 0)])

        for socket in (one, mine):
            frame = await receive(socket)
            assert frame["type"] == "shipment.moved"
            assert (frame["parcel"]["latitude"], frame["parcel"]["longitude"]) == (1.5, 2.5)
            assert "status" not in frame, "a parcel's status is not its order's"


async def test_channels_are_given_up_with_their_last_listener(
    api: Api, customer: Customer, resources: Resources
) -> None:
    order_id = await customer.place()
    channel = redis_keys.order_channel(order_id)
    async with following(api, f"/ws/orders/{order_id}", customer) as one:
        await receive(one)
        async with following(api, f"/ws/orders/{order_id}", customer) as two:
            await receive(two)
        assert (await resources.redis.pubsub_numsub(channel))[0][1] == 1

    for _ in range(100):
        if (await resources.redis.pubsub_numsub(channel))[0][1] == 0:
            break
        await asyncio.sleep(0.02)
    else:
        pytest.fail("still subscribed")
