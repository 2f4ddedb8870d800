"""What a kill led to, from samples, answers and the books."""

from pathlib import Path

from contracts.orders import OrderStatus
from stack.bench.prepare import Targets
from stack.bench.recovery import Recoveries, Recovery, drained_by, summed_up
from stack.bench.run import Fate, Load
from stack.bench.sampler import Counters, Sample
from stack.bench.vegeta import Attack, Shot

KILLED = 1_005.0


def sample(at: float, messages: int, **lag: int) -> Sample:
    return Sample(at, lag, messages, 0, {})


def shot(number: int, due: float, code: int = 202, latency: float = 0.01) -> Shot:
    return Shot(number, due, due, latency, code, "")


def load(*shots: Shot) -> Load:
    return Load(
        rate=1,
        seconds=10,
        targets=Targets(Path("targets"), "bench-", 10, []),
        attack=Attack(shots, 0.1),
        began=1_000,
        ended=1_010,
        samples=[],
        before=Counters(0, 0, 0, 0, 0, 0, 0, 0),
        memory_mb={},
        observer_cpu_seconds=0,
    )


def fate(number: int, created: float, processing: float | None) -> Fate:
    status = OrderStatus.PENDING if processing is None else OrderStatus.PROCESSING
    return Fate(str(number), number, status, created, processing, processing, None, False)


def test_the_backlog_is_gone_at_the_first_sample_after_the_last_that_was_behind() -> None:
    samples = [
        sample(1_004, 0, saga=5),
        sample(1_005, 100, saga=20),
        sample(1_006, 200, saga=120),
        sample(1_007, 300, saga=90),
        sample(1_008, 400, saga=101),
        sample(1_009, 500, saga=30),
        sample(1_010, 500, saga=0),
    ]
    assert drained_by(samples) == 1_009


def test_without_kafka_nothing_is_drained() -> None:
    assert drained_by([sample(1, 0, saga=0), Sample(2, {}, 0, 0, {})]) is None
    assert drained_by([sample(1, 0, saga=0), Sample(2, {}, 0, 0, {}), sample(3, 10, saga=0)]) == 3
    assert drained_by([]) is None


def test_a_kill_is_summed_up() -> None:
    shots = [shot(0, 1_004), shot(1, 1_006, code=0, latency=2), shot(2, 1_009), shot(3, 1_009.5)]
    fates = [fate(0, 1_004, 1_012), fate(2, 1_009, None)]
    recovery = summed_up("saga", load(*shots), KILLED, 3.5, fates, 1_011)
    assert recovery == Recovery(
        process="saga",
        healthy=3.5,
        refusing=3.0,
        refused=1,
        drained=6.0,
        slowest=8.0,
        accepted=3,
        lost=1,
        unfinished=1,
    )
    assert not recovery.kept


def test_the_document_is_flat_and_says_what_was_kept() -> None:
    good = Recovery(
        process="redis",
        healthy=1.0,
        refusing=0.0,
        refused=0,
        drained=2.0,
        slowest=4.0,
        accepted=9,
        lost=0,
        unfinished=0,
    )
    document = Recoveries(50, [good], "the books balance", True).document()
    assert document["passed"] is document["redis.kept"] is True
    assert (document["redis.healthy_seconds"], document["redis.accepted"]) == (1.0, 9)
    assert all(not isinstance(value, dict | list) for value in document.values())
