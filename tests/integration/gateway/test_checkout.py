"""The checkout over HTTP, in every branch that it has."""

import asyncio
import json
import socket
import uuid

import httpx
import pytest

from contracts import redis_keys
from contracts.envelope import caused_id
from contracts.orders import Address
from kit.ids import is_uuid, new_id
from oltp.gateway.admission import record_key
from oltp.gateway.order_log import partition_of
from oltp.gateway.schemas import AcceptedCheckout
from tests.integration.gateway.conftest import BODY, Gateway, OrderEvents, Serve


def _problem(answer: httpx.Response, status: int, type_: str) -> dict[str, object]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, object] = answer.json()
    assert document["type"] == type_
    return document


def _nobody_listens() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


async def test_a_cart_becomes_an_order(gateway: Gateway, order_events: OrderEvents) -> None:
    shopper = gateway.shopper()
    tea, mug = gateway.shelf.put(unit_price=1250), gateway.shelf.put(unit_price=999)
    await shopper.put_in_cart({tea: 2, mug: 1})

    answer = await shopper.checkout("first", **{"X-Request-ID": "request-1"})

    assert answer.status_code == 202, answer.text
    accepted = AcceptedCheckout.model_validate_json(answer.content, strict=False)
    assert is_uuid(accepted.order_id)
    assert answer.headers["location"] == f"/api/orders/{accepted.order_id}"
    assert '"checkout";r=2;t=60' in answer.headers["ratelimit"]
    assert '"checkout";q=3;w=60' in answer.headers["ratelimit-policy"]
    assert answer.headers["x-request-id"] == "request-1"
    assert accepted.status == "pending"
    assert accepted.total_amount == 2 * 1250 + 999
    assert accepted.currency == "USD"
    assert [item.product_id for item in accepted.items] == sorted([tea, mug])
    assert await shopper.cart() == {}

    [(envelope, created, partition, offset)] = await order_events.created(shopper.user_id)
    assert envelope.id == caused_id(accepted.order_id, "order.created")
    assert envelope.subject == created.order_id == accepted.order_id
    assert envelope.correlationid == "request-1"
    assert partition == partition_of(created.order_id, 6)
    assert (created.idempotency_key, created.total_amount) == ("first", accepted.total_amount)
    assert created.queue_position == accepted.queue_position
    assert {line.product_id: line.quantity for line in created.lines} == {tea: 2, mug: 1}

    readable = json.loads(await gateway.redis.get(redis_keys.accepted_order(accepted.order_id)))
    assert (readable["log_partition"], readable["log_offset"]) == (partition, offset)
    assert readable["user_id"] == shopper.user_id
    [(recent, at)] = await gateway.redis.zrange(redis_keys.recent_orders(shopper.user_id), 0, -1, withscores=True)
    assert (recent, at) == (accepted.order_id, int(accepted.created_at.timestamp() * 1000))


async def test_a_repeated_key_gets_the_same_bytes_and_no_second_order(
    gateway: Gateway, order_events: OrderEvents
) -> None:
    shopper = gateway.shopper()
    await shopper.put_in_cart({gateway.shelf.put(): 1})
    first = await shopper.checkout("again")
    await shopper.put_in_cart({gateway.shelf.put(): 5})
    reordered = {"payment_method": BODY["payment_method"], "shipping_address": BODY["shipping_address"]}
    for body in (BODY, reordered, BODY, BODY, BODY):
        repeated = await shopper.checkout("again", body)
        assert repeated.status_code == first.status_code == 202
        assert repeated.content == first.content
        assert repeated.headers["location"] == first.headers["location"]
    assert len(await order_events.created(shopper.user_id)) == 1
    assert list((await shopper.cart()).values()) == ["5"]


async def test_a_key_with_another_body_is_refused(gateway: Gateway) -> None:
    shopper = gateway.shopper()
    await shopper.put_in_cart({gateway.shelf.put(): 1})
    await shopper.checkout("one")
    other = {**BODY, "payment_method": {"type": "wallet", "token": "tok_visa"}}
    _problem(await shopper.checkout("one", other), 422, "idempotency-key-reused")


async def test_keys_belong_to_their_customer(gateway: Gateway) -> None:
    answers = []
    for shopper in (gateway.shopper(), gateway.shopper()):
        await shopper.put_in_cart({gateway.shelf.put(): 1})
        answers.append(await shopper.checkout("same"))
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json()["order_id"] != answers[1].json()["order_id"]


async def test_twenty_at_once_make_one_order(gateway: Gateway, order_events: OrderEvents) -> None:
    shoppers = [gateway.shopper() for _ in range(5)]
    for shopper in shoppers:
        await shopper.put_in_cart({gateway.shelf.put(): 1})
    answers = await asyncio.gather(*(shopper.checkout("storm") for shopper in shoppers for _ in range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == len(shoppers)
    for shopper in shoppers:
        assert len(await order_events.created(shopper.user_id)) == 1


async def test_one_cart_is_not_bought_twice_under_two_keys(gateway: Gateway, order_events: OrderEvents) -> None:
    shopper = gateway.shopper()
    await shopper.put_in_cart({gateway.shelf.put(): 1})
    answers = await asyncio.gather(shopper.checkout("left"), shopper.checkout("right"))
    assert sorted(answer.status_code for answer in answers) == [202, 409]
    assert len(await order_events.created(shopper.user_id)) == 1


async def test_what_was_added_meanwhile_stays_in_the_cart(gateway: Gateway) -> None:
    shopper = gateway.shopper()
    tea, late = gateway.shelf.put(), gateway.shelf.put()
    await shopper.put_in_cart({tea: 2})
    original = gateway.shelf.get_many

    async def adding_meanwhile(product_ids: object) -> object:
        cards = await original(product_ids)  # type: ignore[arg-type]
        await shopper.put_in_cart({tea: 3, late: 1})
        return cards

    gateway.shelf.get_many = adding_meanwhile  # type: ignore[method-assign,assignment]
    answer = await shopper.checkout()
    assert answer.json()["items"][0]["quantity"] == 2
    assert await shopper.cart() == {tea: "1", late: "1"}


@pytest.mark.parametrize("key", ["", "sp ace", "ü", "x" * 256, "tab\there"])
async def test_a_key_is_one_to_255_visible_characters(gateway: Gateway, key: str) -> None:
    shopper = gateway.shopper()
    headers = [("Authorization", shopper.headers["Authorization"]), ("Idempotency-Key", key.encode())]
    answer = await gateway.http.post("/api/orders/checkout", headers=headers, json=BODY)
    _problem(answer, 400, "idempotency-key-required")


async def test_a_key_is_required_and_only_one(gateway: Gateway) -> None:
    shopper = gateway.shopper()
    authorization = ("Authorization", shopper.headers["Authorization"])
    for keys in ([], ["one", "two"]):
        headers = [authorization, *(("Idempotency-Key", key) for key in keys)]
        answer = await gateway.http.post("/api/orders/checkout", headers=headers, json=BODY)
        _problem(answer, 400, "idempotency-key-required")


async def test_signing_in_comes_first(gateway: Gateway) -> None:
    _problem(await gateway.http.post("/api/orders/checkout", json={}), 401, "unauthorized")


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_only_a_post_checks_out(gateway: Gateway, order_events: OrderEvents, method: str) -> None:
    shopper = gateway.shopper()
    await shopper.put_in_cart({gateway.shelf.put(): 1})
    headers = {**shopper.headers, "Idempotency-Key": "k"}
    answer = await gateway.http.request(method, "/api/orders/checkout", headers=headers, json=BODY)
    _problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"
    assert await order_events.created(shopper.user_id) == []


@pytest.mark.parametrize(
    "change",
    [
        {"coupon": "FREE"},
        {"payment_method": {"type": "cash", "token": "x"}},
        {"payment_method": {"type": "card", "token": "4242 4242"}},
        {"payment_method": {"type": "card", "token": "tok", "cvc": "123"}},
        {"shipping_address": {**BODY["shipping_address"], "city": "Lon\x00don"}},
        {"shipping_address": {**BODY["shipping_address"], "country": "Atlantis"}},
        {"shipping_address": {**BODY["shipping_address"], "latitude": 91}},
        {"shipping_address": {**BODY["shipping_address"], "name": "\ud800"}},
    ],
)
async def test_bad_bodies_are_refused(gateway: Gateway, change: dict[str, object]) -> None:
    shopper = gateway.shopper()
    headers = {**shopper.headers, "Idempotency-Key": "k", "Content-Type": "application/json"}
    answer = await gateway.http.post("/api/orders/checkout", headers=headers, content=json.dumps({**BODY, **change}))
    assert _problem(answer, 422, "validation-error")["errors"]


async def test_an_empty_cart_is_refused(gateway: Gateway) -> None:
    _problem(await gateway.shopper().checkout(), 409, "cart-empty")


async def test_unknown_and_inactive_products_are_refused(gateway: Gateway) -> None:
    shopper = gateway.shopper()
    unknown, inactive = str(uuid.uuid4()), gateway.shelf.put(active=False)
    await shopper.put_in_cart({gateway.shelf.put(): 1, unknown: 1, inactive: 1})
    document = _problem(await shopper.checkout(), 409, "products-unavailable")
    assert document["product_ids"] == sorted([unknown, inactive])
    assert len(await shopper.cart()) == 3


async def test_known_shortage_is_refused_and_unknown_stock_is_not(gateway: Gateway) -> None:
    shopper = gateway.shopper()
    scarce, plenty = gateway.shelf.put(name="Scarce"), gateway.shelf.put()
    await gateway.redis.set(redis_keys.stock(scarce), 1)
    await shopper.put_in_cart({scarce: 2, plenty: 7})
    document = _problem(await shopper.checkout("k"), 409, "out-of-stock")
    assert document["products"] == [{"product_id": scarce, "name": "Scarce", "requested": 2, "available": 1}]
    await shopper.put_in_cart({scarce: 1})
    assert (await shopper.checkout("k")).status_code == 202
    assert await gateway.redis.get(redis_keys.stock(scarce)) == "1"


async def test_an_order_beyond_the_columns_range_is_refused(gateway: Gateway) -> None:
    shopper = gateway.shopper()
    await shopper.put_in_cart({gateway.shelf.put(unit_price=10**10): 100})
    _problem(await shopper.checkout(), 409, "order-too-large")


async def test_three_checkouts_a_minute_and_repeats_are_free(gateway: Gateway) -> None:
    shopper = gateway.shopper()
    product = gateway.shelf.put()
    for number in range(3):
        await shopper.put_in_cart({product: 1})
        answer = await shopper.checkout(f"key-{number}")
        assert answer.status_code == 202
        assert f'"checkout";r={2 - number};' in answer.headers["ratelimit"]
    for _ in range(3):
        assert (await shopper.checkout("key-0")).status_code == 202
    await shopper.put_in_cart({product: 1})
    refused = await shopper.checkout("key-3")
    _problem(refused, 429, "rate-limited")
    assert 55 <= int(refused.headers["retry-after"]) <= 60
    assert '"checkout";r=0;' in refused.headers["ratelimit"]
    assert await shopper.cart() == {product: "1"}


async def test_the_window_slides(serve: Serve) -> None:
    async with serve(checkout_limit_per_minute=2) as gateway:
        shopper = gateway.shopper()
        product = gateway.shelf.put()
        for number in range(2):
            await shopper.put_in_cart({product: 1})
            assert (await shopper.checkout(f"key-{number}")).status_code == 202
        attempts = f"checkout_attempts:{shopper.user_id}"
        _, oldest = await gateway.redis.lrange(attempts, 0, -1)
        await gateway.redis.lset(attempts, 1, int(oldest) - 61_000)
        await shopper.put_in_cart({product: 1})
        assert (await shopper.checkout("key-2")).status_code == 202
        await shopper.put_in_cart({product: 1})
        assert (await shopper.checkout("key-3")).status_code == 429


async def test_a_claim_in_flight_is_waited_for_then_refused(serve: Serve) -> None:
    async with serve(checkout_wait_seconds=0.3) as gateway:
        shopper = gateway.shopper()
        await shopper.put_in_cart({gateway.shelf.put(): 1})
        first = await shopper.checkout("slow")
        record = record_key(shopper.user_id, "slow")
        answer = await gateway.redis.hget(record, "answer")
        order = await gateway.redis.get(redis_keys.accepted_order(first.json()["order_id"]))
        seconds, _ = await gateway.redis.time()
        await gateway.redis.hdel(record, "answer")
        await gateway.redis.hset(record, mapping={"order": order, "claimed_at": seconds * 1000})
        waiting = asyncio.create_task(shopper.checkout("slow"))
        refused = await waiting
        _problem(refused, 409, "checkout-in-flight")
        assert refused.headers["retry-after"] == "1"

        await gateway.redis.hset(record, "claimed_at", int((await gateway.redis.time())[0]) * 1000)
        waiting = asyncio.create_task(shopper.checkout("slow"))
        await asyncio.sleep(0.1)
        await gateway.redis.hset(record, "answer", answer)
        assert (await waiting).content == first.content


async def test_an_abandoned_claim_is_carried_on_with_the_same_order(serve: Serve, order_events: OrderEvents) -> None:
    async with serve() as gateway:
        shopper = gateway.shopper()
        product = gateway.shelf.put(unit_price=500)
        await shopper.put_in_cart({product: 2})
    async with serve(kafka_bootstrap=_nobody_listens()) as gateway:
        shopper.http = gateway.http
        refused = await shopper.checkout("carried")
        _problem(refused, 503, "unavailable")
        assert refused.headers["retry-after"] == "1"
        claimed = await gateway.redis.hgetall(record_key(shopper.user_id, "carried"))
        assert await shopper.cart() == {product: "2"}
    async with serve() as gateway:
        shopper.http = gateway.http
        gateway.shelf.cards.clear()
        accepted = await shopper.checkout("carried")
        assert accepted.status_code == 202
        assert accepted.json()["order_id"] == claimed["order_id"]
        assert accepted.json()["total_amount"] == 1000
        assert await shopper.cart() == {}
        assert (await shopper.checkout("carried")).content == accepted.content
    assert [created.order_id for _, created, _, _ in await order_events.created(shopper.user_id)] == [
        claimed["order_id"]
    ]


async def test_a_claim_whose_gateway_died_is_taken_over_once(serve: Serve, order_events: OrderEvents) -> None:
    async with serve(kafka_bootstrap=_nobody_listens()) as gateway:
        shopper = gateway.shopper()
        await shopper.put_in_cart({gateway.shelf.put(): 1})
        await shopper.checkout("orphan")
        record = record_key(shopper.user_id, "orphan")
        order_id = await gateway.redis.hget(record, "order_id")
        seconds, _ = await gateway.redis.time()
        await gateway.redis.hset(record, "claimed_at", (seconds - 3) * 1000)
    async with serve() as gateway:
        shopper.http = gateway.http
        answers = await asyncio.gather(*(shopper.checkout("orphan") for _ in range(10)))
        assert {answer.status_code for answer in answers} == {202}
        assert {answer.json()["order_id"] for answer in answers} == {order_id}
    assert len(await order_events.created(shopper.user_id)) == 1


async def test_without_redis_the_answer_is_503(serve: Serve) -> None:
    from pydantic import SecretStr

    async with serve(redis_url=SecretStr(f"redis://{_nobody_listens()}/0"), user_requests_per_minute=2) as gateway:
        shopper = gateway.shopper()
        refused = await shopper.checkout()
        _problem(refused, 503, "unavailable")
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["x-request-id"]
        assert (await shopper.checkout()).status_code == 503
        assert (await shopper.checkout()).status_code == 429


async def test_a_stored_address_is_where_the_order_goes(serve: Serve, order_events: OrderEvents) -> None:
    async with serve() as gateway:
        shopper, stranger, home = gateway.shopper(), gateway.shopper(), new_id()
        tea = gateway.shelf.put()
        address = Address(name="Ada", line1="12 Square", city="London", postal_code="SW1Y 4JH", country="GB")
        serve.book.addresses[shopper.user_id, home] = address
        body = {"address_id": home, "payment_method": BODY["payment_method"]}
        for somebody in (shopper, stranger):
            await somebody.put_in_cart({tea: 1})

        answer = await shopper.checkout("first", body)
        assert answer.status_code == 202, answer.text
        del serve.book.addresses[shopper.user_id, home]
        repeated = await shopper.checkout("first", body)
        other = await shopper.checkout("first", BODY)
        gone = await shopper.checkout("second", body)
        await shopper.put_in_cart({tea: 1})
        forgotten = await shopper.checkout("third", body)
        elsewhere = await stranger.checkout("first", body)

    assert (repeated.status_code, repeated.content) == (202, answer.content)
    _problem(other, 422, "idempotency-key-reused")
    unknown = [_problem(refused, 404, "address-not-found") for refused in (gone, forgotten, elsewhere)]
    assert len({document["detail"] for document in unknown}) == 1
    [(_, created, *_)] = await order_events.created(shopper.user_id)
    assert created.shipping_address == address
    assert await order_events.created(stranger.user_id) == []
