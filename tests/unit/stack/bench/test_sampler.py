"""CPU time of processes that come and go."""

import os

from stack.bench.sampler import CpuMeter, tree_totals


def test_cpu_time_counts_from_the_first_reading() -> None:
    meter = CpuMeter()
    meter.read({"saga": 10}, {10: 5.0})

    assert meter.read({"saga": 10}, {10: 7.5}) == {"saga": 2.5}


def test_a_process_that_started_again_counts_from_nothing_and_is_added() -> None:
    meter = CpuMeter()
    meter.read({"saga": 10}, {10: 5.0})
    meter.read({"saga": 10}, {10: 8.0})

    assert meter.read({"saga": 11}, {11: 0.5}) == {"saga": 3.5}


def test_a_process_that_is_away_keeps_what_it_used() -> None:
    meter = CpuMeter()
    meter.read({"saga": 10}, {10: 5.0})
    meter.read({"saga": 10}, {10: 6.0})

    assert meter.read({"saga": 10}, {}) == {"saga": 1.0}


def test_a_tree_has_the_time_of_its_root() -> None:
    used = sum(os.times()[:4])

    assert tree_totals([os.getpid()])[os.getpid()] >= used
