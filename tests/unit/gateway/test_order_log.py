"""Partitions as the producer chooses them."""

import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from oltp.gateway.order_log import partition_of


@pytest.mark.parametrize(
    ("key", "murmur2"), [("21", -973932308), ("foobar", -790332482), ("a-little-bit-long-string", -985981536)]
)
def test_the_hash_is_kafkas(key: str, murmur2: int) -> None:
    assert partition_of(key, 6) == (murmur2 & 0x7FFFFFFF) % 6


@given(st.uuids().map(str), st.integers(1, 64))
def test_the_producer_would_choose_the_same(key: str, partitions: int) -> None:
    chosen = DefaultPartitioner()(key.encode(), list(range(partitions)), [])
    assert partition_of(key, partitions) == chosen
