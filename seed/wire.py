"""Rows in Postgres's binary COPY format, made by columns: numpy lays out what has a fixed width, Arrow joins the rest.

A row is a run of *pieces*, each of which holds one or more whole fields (length and value). Pieces of fixed width are
made with :class:`Fixed`; those of texts are rendered once for each distinct value with :func:`piece` and taken by
index. :func:`payload` joins them row by row, so the joined array's data is the COPY stream itself.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\x00" + struct.pack(">ii", 0, 0)
_TRAILER: Final = struct.pack(">h", -1)
_EPOCH_MS: Final = 946_684_800_000
"""Postgres counts microseconds from 2000-01-01."""

NULL: Final = struct.pack(">i", -1)


class Json(str):
    """A text for a ``jsonb`` column."""

    __slots__ = ()


@dataclass(slots=True)
class Fixed:
    """Fields of fixed width, one after the other. ``columns`` begins a row: it is how many fields the whole row has."""

    count: int
    columns: int | None = None
    _template: bytearray = field(default_factory=bytearray)
    _parts: list[tuple[int, str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.columns is not None:
            self._template += struct.pack(">h", self.columns)

    def _add(self, width: int, kind: str, values: Any) -> Self:
        self._template += struct.pack(">i", width)
        self._parts.append((len(self._template), kind, values))
        self._template += bytes(width)
        return self

    def uuid(self, ids: Bytes) -> Self:
        """``uuid``; ids are rows of 16 bytes."""
        return self._add(16, "V16", np.ascontiguousarray(ids).view("V16").reshape(-1))

    def int2(self, values: npt.NDArray[Any]) -> Self:
        """``smallint``."""
        return self._add(2, ">i2", values)

    def int4(self, values: npt.NDArray[Any]) -> Self:
        """``integer``."""
        return self._add(4, ">i4", values)

    def float8(self, values: npt.NDArray[Any]) -> Self:
        """``double precision``."""
        return self._add(8, ">f8", values)

    def moment(self, milliseconds: npt.NDArray[Any]) -> Self:
        """``timestamptz`` of Unix milliseconds."""
        return self._add(8, ">i8", (milliseconds.astype(np.int64) - _EPOCH_MS) * 1000)

    def ascii(self, texts: npt.NDArray[np.bytes_]) -> Self:
        """``text`` of one length for all."""
        return self._add(texts.dtype.itemsize, texts.dtype.str, texts)

    def money(self, cents: npt.NDArray[Any]) -> Self:
        """``numeric`` of cents: three digits to the base 10,000, of which the last are the cents."""
        self._template += struct.pack(">ihhhh", 14, 3, 1, 0, 2)
        dollars = cents // 100
        for digits in (dollars // 10_000, dollars % 10_000, cents % 100 * 100):
            self._parts.append((len(self._template), ">i2", digits))
            self._template += bytes(2)
        return self

    def raw(self, data: bytes) -> Self:
        """Bytes that are the same in each row, as they are."""
        self._template += data
        return self

    def constant(self, *values: Any) -> Self:
        """Fields that are the same in each row."""
        self._template += piece(*values)
        return self

    def build(self) -> pa.BinaryArray:
        """The pieces."""
        width = len(self._template)
        rows = np.empty((self.count, width), dtype=np.uint8)
        rows[:] = np.frombuffer(bytes(self._template), dtype=np.uint8)
        names = [f"f{n}" for n in range(len(self._parts))]
        layout = np.dtype(
            {
                "names": names,
                "formats": [kind for _, kind, _ in self._parts],
                "offsets": [at for at, _, _ in self._parts],
                "itemsize": width,
            }
        )
        view = rows.view(layout).reshape(-1)
        for name, (_, _, values) in zip(names, self._parts, strict=True):
            view[name] = values
        return binary(rows)


def binary(rows: Bytes) -> pa.BinaryArray:
    """Equally long rows of bytes as an Arrow array, without a copy."""
    count, width = rows.shape
    offsets = np.arange(count + 1, dtype=np.int32) * width
    return pa.Array.from_buffers(pa.binary(), count, [None, pa.py_buffer(offsets), pa.py_buffer(rows)])


def piece(*values: Any) -> bytes:
    """Fields as COPY takes them: texts, JSON, ``integer``, ``boolean``, ``double precision`` and nulls."""
    return b"".join(_field(value) for value in values)


def _field(value: Any) -> bytes:
    match value:
        case None:
            return NULL
        case bool():
            return struct.pack(">i?", 1, value)
        case int():
            return struct.pack(">ii", 4, value)
        case float():
            return struct.pack(">id", 8, value)
        case Json():
            encoded = b"\x01" + value.encode()
        case str():
            encoded = value.encode()
        case _:
            raise TypeError(f"no field for a {type(value).__name__}")
    return struct.pack(">i", len(encoded)) + encoded


def pieces(values: Iterable[bytes]) -> pa.BinaryArray:
    """Rendered pieces, to be taken from by index."""
    return pa.array(list(values), pa.binary())


def take(choices: pa.BinaryArray, index: npt.NDArray[Any]) -> pa.BinaryArray:
    """The piece of each row."""
    return choices.take(pa.array(index))


def nullable(values: pa.BinaryArray, present: npt.NDArray[np.bool_]) -> pa.BinaryArray:
    """One field's pieces, or null where it is not present."""
    return chosen_of(present, values, NULL)


def chosen_of(present: npt.NDArray[np.bool_], values: pa.BinaryArray, otherwise: bytes) -> pa.BinaryArray:
    """The pieces where they are present, elsewhere another one."""
    return pc.if_else(pa.array(present), values, pa.scalar(otherwise, pa.binary()))


def joined(*columns: pa.BinaryArray) -> pa.BinaryArray:
    """Pieces side by side, row by row."""
    if len(columns) == 1:
        return columns[0]
    return pc.binary_join_element_wise(*columns, pa.scalar(b"", pa.binary()))


def grouped(parts: pa.BinaryArray, first: Ints) -> pa.BinaryArray:
    """Consecutive parts run together: group ``n`` is the parts from ``first[n]`` to before ``first[n + 1]``."""
    data = parts.buffers()[2]
    offsets = np.frombuffer(parts.buffers()[1], dtype=np.int32)[parts.offset : parts.offset + len(parts) + 1]
    return pa.Array.from_buffers(
        pa.binary(), len(first) - 1, [None, pa.py_buffer(np.ascontiguousarray(offsets[first])), data]
    )


def texts(values: pa.BinaryArray) -> pa.BinaryArray:
    """``text`` fields of values that differ from row to row."""
    return joined(binary(lengths(values).astype(">i4").view(np.uint8).reshape(-1, 4)), values)


def lengths(values: pa.BinaryArray) -> Ints:
    """How many bytes each has."""
    return np.asarray(pc.binary_length(values)).astype(np.int64)


def json_list(entries: pa.BinaryArray, first: Ints) -> pa.BinaryArray:
    """``jsonb`` fields that list each group's entries. Groups must not be empty; entries carry no comma."""
    count = len(entries)
    opening = np.ones(count, dtype=np.int8)
    opening[first[:-1]] = 0
    closing = np.zeros(count, dtype=np.int8)
    closing[first[1:] - 1] = 1
    marks, ends = pieces([b"[", b", "]), pieces([b"", b"]"])
    texts = grouped(joined(take(marks, opening), entries, take(ends, closing)), first)
    head = np.empty(len(texts), dtype=np.dtype([("length", ">i4"), ("version", "u1")]))
    head["length"], head["version"] = lengths(texts) + 1, 1
    return joined(binary(head.view(np.uint8).reshape(len(texts), 5)), texts)


def hexadecimal(ids: Bytes) -> npt.NDArray[np.bytes_]:
    """Ids of 16 bytes as texts of 36 characters."""
    nibbles = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
    digits = np.empty((len(ids), 32), dtype=np.uint8)
    digits[:, 0::2], digits[:, 1::2] = nibbles[ids >> 4], nibbles[ids & 15]
    text = np.full((len(ids), 36), ord("-"), dtype=np.uint8)
    for at, start, stop in ((0, 0, 8), (9, 8, 12), (14, 12, 16), (19, 16, 20), (24, 20, 32)):
        text[:, at : at + stop - start] = digits[:, start:stop]
    return text.view("S36").reshape(-1)


def prefixed(prefix: bytes, values: npt.NDArray[np.bytes_], suffix: bytes = b"") -> npt.NDArray[np.bytes_]:
    """Texts of one length between a prefix and a suffix."""
    width = values.dtype.itemsize
    text = np.empty((len(values), len(prefix) + width + len(suffix)), dtype=np.uint8)
    text[:, : len(prefix)] = np.frombuffer(prefix, dtype=np.uint8)
    text[:, len(prefix) : len(prefix) + width] = np.ascontiguousarray(values).view(np.uint8).reshape(-1, width)
    text[:, len(prefix) + width :] = np.frombuffer(suffix, dtype=np.uint8)
    return text.view(f"S{text.shape[1]}").reshape(-1)


def numbered(prefix: bytes, numbers: Ints, width: int) -> npt.NDArray[np.bytes_]:
    """A prefix and a number of so many digits."""
    digits = numbers[:, None] // 10 ** np.arange(width - 1, -1, -1) % 10 + ord("0")
    return prefixed(prefix, digits.astype(np.uint8).view(f"S{width}").reshape(-1))


def payload(*columns: pa.BinaryArray) -> list[memoryview]:
    """A whole COPY stream of rows whose first piece begins each row."""
    rows = joined(*columns)
    offsets = np.frombuffer(rows.buffers()[1], dtype=np.int32)
    begin, end = int(offsets[rows.offset]), int(offsets[rows.offset + len(rows)])
    data = memoryview(rows.buffers()[2] or b"")
    return [memoryview(_SIGNATURE), data[begin:end], memoryview(_TRAILER)]


def concatenated(payloads: Sequence[pa.BinaryArray]) -> pa.BinaryArray:
    """Rows of several kinds one after the other."""
    return pa.concat_arrays(payloads)
