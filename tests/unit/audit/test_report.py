"""How findings make a verdict, a document and a table."""

import datetime as dt
import io
from collections.abc import Mapping
from dataclasses import replace

import orjson
import pytest
from rich.console import Console

from audit.log import AcceptedOrders, Progress
from audit.quiet import unrest
from audit.report import NAMED, Finding, Offender, Report, Verdict, away, found
from audit.run import STANDING, _passing, _pending, _settle
from contracts.envelope import encode, seal
from contracts.events import OrderCreated
from contracts.orders import Address, PaymentMethod, PaymentMethodType

AT = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)


def _report(*findings: Finding, quiet: bool = True) -> Report:
    return Report(AT, 1.25, quiet, "" if quiet else "order-saga is 3 behind", findings)


def _broken(count: int = 7, **options: bool) -> Finding:
    offenders = tuple(Offender(f"order-{n}", "is wrong") for n in range(count))
    return Finding("orders.totals", "totals", {"orders": 9}, offenders, count, **options)


@pytest.mark.parametrize(
    ("finding", "verdict"),
    [
        (Finding("a", "A"), Verdict.HOLDS),
        (_broken(), Verdict.BROKEN),
        (_broken(warning=True), Verdict.WARNING),
        (away("a", "A", "Kafka is away"), Verdict.NOT_JUDGED),
    ],
)
def test_a_finding_has_a_verdict(finding: Finding, verdict: Verdict) -> None:
    assert finding.verdict is verdict


def test_a_report_is_clean_unless_something_breaks() -> None:
    assert _report(Finding("a", "A"), _broken(warning=True)).clean
    assert _report(Finding("a", "A"), away("b", "B", "away")).verdict == "clean, 1 of 2 checks not judged"
    broken = _report(Finding("a", "A"), _broken())
    assert not broken.clean
    assert broken.verdict == "broken: orders.totals"
    assert broken.finding("a").verdict is Verdict.HOLDS
    with pytest.raises(KeyError):
        broken.finding("nothing")


def test_the_document_is_flat_and_names_five_offenders() -> None:
    document = _report(_broken(), away("b", "B", "away")).document()
    assert document["clean"] is False
    assert document["orders.totals"] == "broken"
    assert document["orders.totals.orders"] == 9
    assert document["orders.totals.broken"] == 7
    assert document["orders.totals.offenders"] == [f"order-{n}: is wrong" for n in range(NAMED)]
    assert document["b"] == "not_judged"
    assert document["b.broken"] is None
    assert document["b.note"] == "away"
    assert not any(isinstance(value, Mapping) for value in document.values())
    assert orjson.loads(orjson.dumps(document)) == document


def test_the_table_shows_figures_offenders_and_the_verdict() -> None:
    out = io.StringIO()
    Console(file=out, width=110).print(_report(_broken(), quiet=False).render())
    shown = out.getvalue()
    for expected in ("orders 9", "order-4: is wrong", "and 2 more", "broken: orders.totals", "order-saga is 3 behind"):
        assert expected in shown
    assert "order-5" not in shown


def test_what_may_be_under_way_is_not_judged() -> None:
    finding = _broken(needs_quiet=True)
    busy = unrest(Progress({"order-saga": 1}, {}, 0), [], Progress({"order-saga": 0}, {}, 0))
    settled = _settle(finding, {}, busy)
    assert settled.verdict is Verdict.NOT_JUDGED
    assert settled.note == "7 differ while messages are under way"
    assert _settle(_broken(), {}, busy).verdict is Verdict.BROKEN
    rest = unrest(Progress({}, {}, 0), [], Progress({}, {}, 0))
    assert _settle(finding, {}, rest).verdict is Verdict.BROKEN


def test_what_has_stood_long_enough_is_a_break_even_in_unrest() -> None:
    finding = _broken(needs_quiet=True)
    busy = unrest(None, [], None)
    since = {(finding.key, finding.offenders[2]): -STANDING}
    settled = _settle(finding, since, busy)
    assert settled.verdict is Verdict.BROKEN
    assert settled.offenders == (finding.offenders[2],)


def test_a_busy_shop_is_judged_once_all_that_differed_was_equal_at_some_look() -> None:
    def look(*orders: str, capped: bool = False, needs_quiet: bool = True) -> list[Finding]:
        offenders = [Offender(order, f"seen among {orders}") for order in orders]
        finding = found("history.orders", "history", offenders, needs_quiet=needs_quiet)
        return [replace(finding, count=finding.count + capped)]

    first = _pending(look("a", "b"), None)
    assert first == {("history.orders", "a"), ("history.orders", "b")}
    second = _pending(look("b", "c"), first)
    assert second == {("history.orders", "b")}
    assert _pending(look("a", "c"), second) == set()
    assert _pending(look("a", capped=True), first) is None
    assert _pending(look("a", needs_quiet=False), first) is None
    (passing,) = map(_passing, look("a", "c"))
    assert passing.verdict is Verdict.HOLDS
    assert passing.note == "2 under way at the last look"


def test_orders_are_read_from_the_log_by_message_type() -> None:
    created = OrderCreated(
        order_id="o",
        user_id="u",
        idempotency_key="k",
        request_hash="",
        currency="USD",
        total_amount=1,
        lines=[],
        shipping_address=Address(name="n", line1="l", city="c", postal_code="p", country="US"),
        payment_method=PaymentMethod(type=PaymentMethodType.CARD, token="t"),
        queue_position=0,
        created_at=AT,
    )
    message = encode(seal(created, id="m", source="s", subject="o", time=AT))
    log = AcceptedOrders()
    log.take(3, 7, message)
    log.take(3, 9, message)
    log.take(3, 8, message.replace(b"order.created", b"order.shipped"))
    assert log.places == {"o": [(3, 7), (3, 9)]}
    assert log.keys == {("u", "k"): {"o"}}
    assert log.due({3: 7}) == set()
    assert log.due({3: 8}) == {"o"}
    assert log.due({}) == set()


def test_progress_names_who_is_behind() -> None:
    assert Progress({"a": 0, "b": 2}, {}, 0).behind == {"b": 2}
