"""The queue position: the log behind the saga, then the waiting list; it only falls."""

from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.admission import QueuePlace
from kit.clock import SystemClock
from oltp.gateway.order_queue import WaitingLine
from tests.sale_board import HandMadeBoard


class Log:
    """What the saga has committed in the only partition."""

    def __init__(self) -> None:
        self.committed: int | None = 0

    def position(self, partition: int, offset: int) -> int | None:
        return None if self.committed is None else max(0, offset - self.committed)


class Books:
    """Who waits; an error is raised instead."""

    def __init__(self) -> None:
        self.lists: dict[str, list[str]] = {}
        self.error: Exception | None = None
        self.asked: list[list[str]] = []

    async def waiting(self, sale_ids: Collection[str]) -> dict[str, list[str]]:
        self.asked.append(list(sale_ids))
        if self.error is not None:
            raise self.error
        return self.lists


def a_line(log: Log, books: Books, board: HandMadeBoard | None = None) -> WaitingLine:
    return WaitingLine(log, books, board or HandMadeBoard(), SystemClock())  # type: ignore[arg-type]


def place(
    order_id: str = "me", *, first: int = 100, offset: int | None = 8, sale_id: str | None = "sale"
) -> QueuePlace:
    return QueuePlace(order_id=order_id, first=first, log=None if offset is None else (0, offset), sale_id=sale_id)


async def test_an_order_comes_forward_in_the_log_then_in_the_waiting_list() -> None:
    log, books = Log(), Books()
    line = a_line(log, books)
    books.lists = {"sale": ["a", "b"]}
    assert line.position(place()) is None, "who waits is not known yet"
    await line.refresh()
    told = []
    for committed, waiting in ((3, "ab"), (8, "abc"), (9, ["a", "b", "c", "me"]), (9, ["b", "c", "me"]), (9, ["me"])):
        log.committed, books.lists = committed, {"sale": list(waiting)}
        await line.refresh()
        told.append(line.position(place()))
    assert told == [8, 8, 4, 3, 1], "on its way from the log to the list it stays where it was"


async def test_the_lists_of_sales_that_run_are_known_before_anybody_asks() -> None:
    books, board = Books(), HandMadeBoard()
    sale = board.put("tea")
    books.lists = {sale.sale_id: ["a", "me"]}
    line = a_line(Log(), books, board)
    await line.refresh()
    assert line.position(place(offset=None, sale_id=sale.sale_id)) == 2


async def test_other_lists_are_read_while_somebody_asks_and_the_last_ones_stand_without_postgres() -> None:
    books = Books()
    line = a_line(Log(), books)
    await line.refresh()
    assert books.asked == []
    books.lists = {"sale": ["a", "me"]}
    line.position(place(offset=None))
    await line.refresh()
    assert books.asked == [["sale"]]
    assert line.position(place(offset=None)) == 2
    books.error = ConnectionError("away")
    await line.refresh()
    assert line.position(place(offset=None)) == 2
    books.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await line.refresh()


def test_without_the_saga_s_progress_nothing_is_said() -> None:
    log = Log()
    log.committed = None
    assert a_line(log, Books()).position(place()) is None


def test_other_orders_only_have_the_log_before_them() -> None:
    log = Log()
    line = a_line(log, Books())
    assert line.position(place(sale_id=None, first=5)) == 5, "not more than was told at first"
    log.committed = 6
    assert line.position(place(sale_id=None, first=5)) == 2


@given(st.lists(st.tuples(st.integers(0, 30), st.lists(st.sampled_from(["a", "b", "c", "me"]), unique=True))))
async def test_it_never_rises(seen: list[tuple[int, list[str]]]) -> None:
    log, books = Log(), Books()
    line = a_line(log, books)
    told: list[int] = []
    for committed, waiting in seen:
        log.committed, books.lists = committed, {"sale": waiting}
        await line.refresh()
        position = line.position(place(first=20, offset=20))
        assert position is not None or not told
        told += [] if position is None else [position]
    assert told == sorted(told, reverse=True)
