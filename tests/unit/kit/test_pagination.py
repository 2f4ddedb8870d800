"""Cursors come back as they went out, and nothing else passes for one."""

import datetime as dt

import hypothesis.strategies as st
import pytest
from hypothesis import given

from kit.errors import Invalid
from kit.pagination import decode_cursor, encode_cursor


@given(st.lists(st.text() | st.integers(-(2**53), 2**53), min_size=1, max_size=4))
def test_a_cursor_survives_the_round_trip(key: list[str | int]) -> None:
    assert decode_cursor(encode_cursor(*key), len(key)) == key


def test_times_come_back_as_text() -> None:
    at = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    assert decode_cursor(encode_cursor(at), 1) == ["2026-03-01T00:00:00+00:00"]


@given(st.text(max_size=12))
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        decode_cursor(text, 2)
    assert caught.value.extra["errors"][0]["field"] == "query.cursor"


@pytest.mark.parametrize("cursor", [encode_cursor("a"), encode_cursor("a", ["b"]), encode_cursor("a", {"b": 1}), "%%%"])
def test_a_cursor_of_another_shape_is_refused(cursor: str) -> None:
    with pytest.raises(Invalid):
        decode_cursor(cursor, 2)
