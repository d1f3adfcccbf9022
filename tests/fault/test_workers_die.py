"""Processes of the distributed system that die, stand still or hang, at any place: nothing lost or twice."""

import signal
import time

import pytest

from tests.fault.distributed import LEASE_S, System, fresh_port, metric

FRAMES = 200


@pytest.mark.parametrize(
    "place", ["after claim:3", "after fetch:11", "mid-batch:21", "writing verdicts:3", "after commit:3"]
)
def test_a_worker_killed_anywhere_loses_and_doubles_nothing(system: System, place: str) -> None:
    system.produce(FRAMES)
    system.start("planner")
    dying = system.start("inspect", place)

    assert dying.wait(20) == -signal.SIGKILL, "the place was never reached"
    system.start("inspect")
    system.start("reason")
    system.drain()

    assert system.assert_contract().verdict == FRAMES
