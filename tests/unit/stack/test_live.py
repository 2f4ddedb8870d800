"""The terminal's picture of the live metrics."""

from io import StringIO

from rich.console import Console

from oltp.metrics.domain import Point, Window
from oltp.metrics.reader import Live, Progress
from stack.live import picture

AT = 1_800_000_000


def shown(present: Point, *, sampled_at: int = AT) -> str:
    progress = Progress(counted=10, repeated=2, late=1, sampled_at=sampled_at)
    seconds = Live(AT, Window.SECOND, (Point(AT - 1, 1, orders=50), present), progress)
    minutes = Live(AT, Window.MINUTE, (Point(AT - 60, 60, orders=3000),), progress)
    five = Point(
        AT - 300,
        300,
        orders=9000,
        revenue=1_234_567,
        confirmed=90,
        cancelled=15,
        cancelled_by_reason={"payment_failed": 10, "out_of_stock": 5},
    )
    written = StringIO()
    screen = picture(seconds, minutes, Live(AT, Window.FIVE_MINUTES, (five,), progress), "USD")
    Console(width=120, file=written).print(screen)
    return written.getvalue()


def test_it_says_what_the_windows_say() -> None:
    text = shown(Point(AT, 1, active_carts=7, checkout_sessions=3, lag=12, lag_by_group={"order-saga": 12}))
    for part in ("12,345.67 USD", "90.0%", "out_of_stock 5, payment_failed 10", "order-saga 12", "2 came again"):
        assert part in text, text


def test_it_says_when_nobody_looks() -> None:
    assert "last looked 60 s ago" in shown(Point(AT, 1), sampled_at=AT - 60)
    assert "has not looked yet" in shown(Point(AT, 1), sampled_at=0)
    assert "unknown" in shown(Point(AT, 1))
