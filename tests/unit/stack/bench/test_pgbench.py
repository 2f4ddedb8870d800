import pytest

from stack.bench.pgbench import _LATENCY, _TPS, parse
from stack.errors import StackError

OUTPUT = """
number of transactions actually processed: 12345
latency average = 6.480 ms
initial connection time = 21.010 ms
tps = 1234.567890 (without initial connection time)
"""


def test_the_rate_and_latency_are_read_from_the_output() -> None:
    assert parse(_TPS, OUTPUT) == pytest.approx(1234.56789)
    assert parse(_LATENCY, OUTPUT) == pytest.approx(6.48)


def test_other_output_is_an_error_that_shows_it() -> None:
    with pytest.raises(StackError) as caught:
        parse(_TPS, "FATAL: no")
    assert caught.value.detail == "FATAL: no"
