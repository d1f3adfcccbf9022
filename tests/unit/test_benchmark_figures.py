"""The arithmetic of the benchmarks: what grows, how fast, and what is taken for settled."""

import os

import numpy as np
import pytest

from benchmarks.figures import (
    Sample,
    Spread,
    cpu_seconds,
    megabytes_by_minute,
    resident_bytes,
    settled,
    slope_mb_per_hour,
)
from benchmarks.memory_watch import MemoryWatch
from benchmarks.stand_in import Cost, StandInExpert, stand_in_recipe
from pipelines.frame import Envelope, Frame, Picture
from pipelines.verdict import Outcome

MEGABYTE = 1024 * 1024


def samples(*megabytes: float, every_s: float = 30.0, since_s: float = 1000.0) -> list[Sample]:
    return [
        Sample(at_s=since_s + number * every_s, resident_bytes=int(each * MEGABYTE))
        for number, each in enumerate(megabytes)
    ]


def test_a_process_that_gains_a_megabyte_a_minute_gains_sixty_an_hour() -> None:
    assert slope_mb_per_hour(samples(100, 100.5, 101, 101.5)) == pytest.approx(60)


def test_a_steady_process_grows_by_nothing_and_one_look_says_nothing() -> None:
    assert slope_mb_per_hour(samples(100, 100, 100)) == pytest.approx(0)
    assert slope_mb_per_hour(samples(100)) is None
    assert slope_mb_per_hour([]) is None


def test_what_a_process_takes_to_start_is_not_growth() -> None:
    later = settled(samples(10, 60, 100, 100, 100))
    assert [sample.resident_bytes // MEGABYTE for sample in later] == [100, 100, 100]
    assert settled([]) == []


def test_of_each_minute_the_most_counts_and_a_gap_repeats_the_minute_before() -> None:
    seen = [*samples(10, 30, 20), Sample(at_s=1000.0 + 200, resident_bytes=5 * MEGABYTE)]
    assert megabytes_by_minute(seen) == [30, 20, 20, 5]
    assert megabytes_by_minute([]) == []


def test_a_spread_names_its_median_and_its_ends() -> None:
    spread = Spread.of([3.0, 1.0, 2.0])
    assert (spread.median, spread.least, spread.most, spread.times) == (2.0, 1.0, 3.0, 3)


def test_memory_is_that_of_a_process_and_nothing_of_one_that_is_gone() -> None:
    found = resident_bytes(os.getpid())
    assert found is not None
    assert found > 10 * MEGABYTE
    assert resident_bytes(2**22 + 1) is None  # above the kernel's largest


def test_a_busy_process_takes_cores_and_a_watch_counts_from_its_first_look() -> None:
    before = cpu_seconds(os.getpid())
    assert before is not None
    assert cpu_seconds(2**22 + 1) is None
    with MemoryWatch({"this": os.getpid()}, every_s=0.01) as watch:
        while (cpu_seconds(os.getpid()) or 0) < before + 0.05:
            pass
    assert 0.0 < watch.cpu_s["this"] < before + 0.05


def test_a_watch_has_seen_every_process_by_its_end() -> None:
    with MemoryWatch({"gone": 2**22 + 1}, every_s=60.0) as watch:
        pass
    assert watch.samples["gone"] == []
    assert len(watch.samples["producer (this process)"]) == 1


def test_a_cost_reads_as_it_is_written() -> None:
    cost = Cost.read("50:1.5")
    assert cost == Cost(per_call_s=0.05, per_frame_s=0.0015)
    assert cost.seconds(16) == pytest.approx(0.074)
    assert Cost.read(str(cost)) == cost


def test_the_stand_in_passes_every_frame() -> None:
    expert = StandInExpert(recipe=stand_in_recipe(), cost=Cost())
    frame = Frame(
        envelope=Envelope(id="1", source="camera-1", line="line-1"),
        picture=Picture(pixels=np.zeros((8, 8), np.uint8)),
        product="plate",
        sha256="0" * 64,
    )
    (inspection,) = expert.inspect([frame])
    assert inspection.verdict.outcome is Outcome.PASS
    assert inspection.verdict.recipe == stand_in_recipe().hash
