"""The example of docs/sagas.md: a participant is added by changing the table alone."""

import datetime as dt
from dataclasses import replace

import pytest

from sagas.engine import Go, Instance, Moved, Saga, State, advance, begin
from sagas.order import SAGA

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
UNDO = ("payment.refund", "inventory.release")


@pytest.fixture
def saga() -> Saga:
    waiting = SAGA.states["awaiting_payment"]
    rules = {**waiting.on, "payment.succeeded": Go("held", send=("fraud.check",))}
    held = State(
        emits="order.held",
        on={
            "fraud.cleared": Go("confirmed", send=("shipping.create",)),
            "fraud.rejected": Go("cancelled", send=UNDO),
            "order.cancel": Go("cancelled", send=UNDO, drop=("fraud.check",)),
        },
    )
    states = {**SAGA.states, "awaiting_payment": State(rules, waiting.emits, waiting.time_out), "held": held}
    answers = {**SAGA.answers, "fraud.check": frozenset({"fraud.cleared", "fraud.rejected"})}
    return replace(SAGA, states=states, answers=answers)


def carry(saga: Saga, *messages: str) -> Instance:
    instance = begin(saga, message_id="0", now=NOW).instance
    for message in messages:
        moved = advance(saga, instance, message_type=message, message_id=message, now=NOW)
        assert isinstance(moved, Moved)
        instance = moved.instance
    return instance


PAID = ("inventory.reserved", "payment.succeeded")


def test_a_paid_order_is_held_until_it_is_cleared(saga: Saga) -> None:
    held = carry(saga, *PAID)
    assert (held.status, [o.command for o in held.outstanding]) == ("held", ["fraud.check"])
    assert carry(saga, *PAID, "fraud.cleared", "shipment.created").status == "processing"


@pytest.mark.parametrize("message", ["fraud.rejected", "order.cancel"])
def test_a_rejected_or_cancelled_one_is_undone(saga: Saga, message: str) -> None:
    undone = carry(saga, *PAID, message)
    assert (undone.status, tuple(o.command for o in undone.outstanding)) == ("cancelled", UNDO)
