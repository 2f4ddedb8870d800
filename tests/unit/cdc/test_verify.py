"""A snapshot's text says which transactions it sees; rows that differ are named."""

import pytest

from cdc.catalogue import Column
from cdc.verify import Visibility, _differences, _parsed


@pytest.mark.parametrize(("xid", "seen"), [(99, True), (100, False), (103, True), (104, False), (110, False)])
def test_a_snapshot_sees_what_had_ended(xid: int, seen: bool) -> None:
    assert Visibility.parse("100:110:100,104").sees(xid) is seen


def test_a_cut_id_is_of_the_era_that_is_nearest() -> None:
    era = 3 << 32
    seen = Visibility.parse(f"{era + 5}:{era + 10}:{era + 7}")

    assert seen.sees(4)
    assert seen.sees(0xFFFFFFF0)
    assert not seen.sees(7)
    assert not seen.sees(10)


def test_an_empty_list_of_running_ones() -> None:
    assert Visibility.parse("5:5:").running == frozenset()


def test_differences_are_missing_surplus_or_changed() -> None:
    class Row(dict[str, object]):
        def __iter__(self):  # type: ignore[no-untyped-def]
            return iter(self.values())

    ours = [Row(hash=1, id="a"), Row(hash=2, id="b"), Row(hash=3, id="c")]
    theirs = [Row(hash=1, id="a"), Row(hash=9, id="b"), Row(hash=4, id="d")]

    found = {difference.key: difference.kind for difference in _differences("t", ours, theirs)}

    assert found == {"b": "changed", "c": "missing", "d": "surplus"}


@pytest.mark.parametrize(
    ("column", "sql"),
    [
        (Column("channel", "text", False, True, "it's"), "coalesce((r ->> 'channel')::text, 'it''s'::text)"),
        (Column("note", "text", True, True, "x"), "(r ->> 'note')::text"),
        (Column("amount", "numeric(12,2)", False), "(r ->> 'amount')::numeric(12,2)"),
        (
            Column("since", "date", False, True, "2026-01-02"),
            "coalesce(date '1970-01-01' + (r ->> 'since')::integer, '2026-01-02'::date)",
        ),
    ],
)
def test_a_change_older_than_a_column_has_what_the_sink_writes_for_it(column: Column, sql: str) -> None:
    assert _parsed(column) == sql
