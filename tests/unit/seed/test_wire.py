"""Rows in the binary COPY format, field by field."""

import struct

import numpy as np
import pyarrow as pa
import pytest

from seed.wire import (
    Fixed,
    Json,
    grouped,
    hexadecimal,
    joined,
    json_list,
    nullable,
    numbered,
    payload,
    piece,
    pieces,
    prefixed,
    take,
    texts,
)


def fields(row: bytes) -> list[bytes | None]:
    """The fields of a row without its count."""
    found: list[bytes | None] = []
    while row:
        (length,) = struct.unpack(">i", row[:4])
        found.append(None if length < 0 else row[4 : 4 + length])
        row = row[4 + max(length, 0) :]
    return found


def test_fixed_fields_are_what_postgres_reads() -> None:
    ids = np.arange(32, dtype=np.uint8).reshape(2, 16)
    rows = (
        Fixed(2)
        .uuid(ids)
        .int2(np.array([1, -2]))
        .int4(np.array([70_000, -1]))
        .float8(np.array([0.5, -1.25]))
        .moment(np.array([946_684_800_000, 946_684_800_001]))
        .ascii(np.array([b"ab", b"cd"]))
        .constant("x", None, True)
        .build()
        .to_pylist()
    )
    assert fields(rows[1]) == [
        bytes(range(16, 32)),
        struct.pack(">h", -2),
        struct.pack(">i", -1),
        struct.pack(">d", -1.25),
        struct.pack(">q", 1000),
        b"cd",
        b"x",
        None,
        b"\x01",
    ]


@pytest.mark.parametrize(
    ("cents", "digits"),
    [(0, (0, 0, 0)), (1, (0, 0, 100)), (12_345, (0, 123, 4500)), (1_234_567_899, (1234, 5678, 9900))],
)
def test_money_is_a_numeric_of_three_digits(cents: int, digits: tuple[int, int, int]) -> None:
    (field,) = fields(Fixed(1).money(np.array([cents])).build()[0].as_py())
    assert field is not None
    assert struct.unpack(">hhhhhhh", field) == (3, 1, 0, 2, *digits)


def test_rows_are_joined_between_signature_and_trailer() -> None:
    head = Fixed(2, 3).int4(np.array([1, 2])).build()
    stream = b"".join(payload(head, take(pieces([piece("a", None), piece("bc", Json("[]"))]), np.array([1, 0]))))
    assert stream.startswith(b"PGCOPY\n\xff\r\n\x00" + bytes(8))
    assert stream.endswith(b"\xff\xff")
    rows = stream[19:-2]
    first, second = rows[2:23], rows[25:]
    assert rows[:2] == rows[23:25] == b"\x00\x03"
    assert fields(first) == [struct.pack(">i", 1), b"bc", b"\x01[]"]
    assert fields(second) == [struct.pack(">i", 2), b"a", None]


def test_lists_hold_their_own_entries() -> None:
    entries = pa.array([b"1", b"2", b"3"], pa.binary())
    first, second = (fields(value)[0] for value in json_list(entries, np.array([0, 2, 3])).to_pylist())
    assert (first, second) == (b"\x01[1, 2]", b"\x01[3]")
    assert grouped(entries, np.array([0, 1, 3])).to_pylist() == [b"1", b"23"]


def test_texts_nulls_and_numbers() -> None:
    assert [fields(v) for v in texts(pa.array([b"", b"abc"], pa.binary())).to_pylist()] == [[b""], [b"abc"]]
    field = Fixed(2).int4(np.array([5, 6])).build()
    assert [fields(v) for v in nullable(field, np.array([False, True])).to_pylist()] == [[None], [struct.pack(">i", 6)]]
    assert numbered(b"n", np.array([7, 123_456]), 6).tolist() == [b"n000007", b"n123456"]
    assert prefixed(b"<", np.array([b"ab"]), b">").tolist() == [b"<ab>"]
    assert joined(pieces([b"a"])).to_pylist() == [b"a"]


def test_ids_are_written_with_hyphens() -> None:
    assert hexadecimal(np.arange(16, dtype=np.uint8).reshape(1, 16)).tolist() == [
        b"00010203-0405-0607-0809-0a0b0c0d0e0f"
    ]


def test_what_has_no_field_is_refused() -> None:
    with pytest.raises(TypeError, match="bytearray"):
        piece(bytearray())
