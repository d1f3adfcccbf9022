"""Processes of the distributed system that die, stand still or hang, at any place: nothing lost or twice."""

import signal
import time

import pytest

from storage.batches import BatchKind
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


def leased(system: System) -> tuple[int, int] | None:
    """The batch and fence of the one range in hand; None between two."""
    found = system.rows("SELECT id, fence FROM batch WHERE state = 'leased'")
    return (int(found[0][0]), int(found[0][1])) if found else None


def test_a_worker_that_stood_still_past_its_lease_writes_nothing(system: System) -> None:
    port = fresh_port()
    system.produce(FRAMES)
    system.start("planner")
    zombie = system.start("inspect", "taking:0.3", http_port=port, ranges_at_once=1)
    system.wait_until(lambda: system.verdicts > 0, "the worker is at work")
    before = leased(system)
    system.wait_until(lambda: leased(system) not in (before, None), "it has taken another range")
    time.sleep(0.15)  # into the model's call: elsewhere it might be in the middle of a transaction

    zombie.pause()
    paused_at = leased(system)
    assert paused_at is not None
    batch, fence = paused_at
    system.start("inspect")
    system.start("reason")
    system.drain()
    done = system.verdicts
    zombie.go_on()
    system.wait_until(lambda: metric(port, "triad_claims_lost_total")["inspect"] == 1, "it noticed")

    assert system.number("SELECT count(*) FROM verdict WHERE batch_id = :id AND fence = :fence",
        id=batch, fence=fence) == 0  # fmt: skip
    assert system.verdicts == done
    assert zombie.is_running
    assert system.assert_contract().verdict == FRAMES


def test_a_worker_that_stood_still_in_every_batch_never_writes_over_another(system: System) -> None:
    system.start("planner")
    workers = [system.start("inspect", "taking:0.05") for _ in range(2)]
    system.start("reason")
    for still in workers:
        system.produce(100)
        still.pause()
        time.sleep(LEASE_S + 1.2)
        still.go_on()
    system.drain()

    assert system.assert_contract().verdict == 200


def test_planners_killed_at_random_plan_every_offset_once(system: System) -> None:
    kept = [system.keep("planner") for _ in range(2)]
    system.start("inspect")
    system.start("reason")
    for round_ in range(10):
        system.produce(20, partition=round_ % 2)
        time.sleep(0.07 * (round_ % 4))
        kept[round_ % 2].program.kill()
        system.tend()
    system.drain()

    assert system.deaths >= 10
    assert system.assert_contract().verdict == FRAMES


def test_planners_that_die_in_the_middle_of_planning_leave_no_hole(system: System) -> None:
    """The first two die at their third look each; a third one finds what they began."""
    first = [system.start("planner", "planning:3") for _ in range(2)]
    system.produce(FRAMES)
    for planner in first:
        assert planner.wait(10) == -signal.SIGKILL
    system.start("planner")
    system.start("inspect")
    system.start("reason")
    system.drain()

    assert system.assert_contract().verdict == FRAMES


def test_workers_asked_to_end_under_load_hand_over_to_new_ones(system: System) -> None:
    port = fresh_port()
    system.start("planner", http_port=port)
    system.start("reason")
    old = [system.start("inspect", "taking:0.1") for _ in range(2)]
    system.produce(FRAMES)
    system.wait_until(lambda: system.leases("inspect") > 2, "both are at work")

    asked = time.monotonic()
    for worker in old:
        worker.ask_to_end()
    codes = [worker.wait(10) for worker in old]
    drained_s = time.monotonic() - asked
    left = system.leases("inspect")
    for _ in old:
        system.start("inspect")
    system.drain()

    print(f"drained in {drained_s:.2f} s")  # noqa: T201
    assert codes == [0, 0]
    assert left == 0, "handed back, not left to run out"
    assert metric(port, "triad_leases_expired_total") == {"exhausted": 0, "returned": 0, "split": 0}
    assert system.assert_contract().verdict == FRAMES


def test_a_hung_device_ends_its_process_and_another_does_the_range(system: System) -> None:
    system.produce(FRAMES)
    system.start("planner")
    hung = system.start("inspect", "hanging:3", hard_limit_s=1.5)

    code = hung.wait(20)
    system.start("inspect")
    system.start("reason")
    system.drain()

    assert code == 70
    assert "ending this process" in hung.said()
    assert system.assert_contract().verdict == FRAMES


def test_a_clock_ten_minutes_off_takes_no_lease_and_loses_none(system: System) -> None:
    """One clock decides, the database's: a worker before it and one behind it are workers like others."""
    ports = [fresh_port(), fresh_port()]
    system.start("planner", "clock:600")
    system.start("inspect", "clock:600,taking:0.05", http_port=ports[0])
    system.start("inspect", "clock:-600,taking:0.05", http_port=ports[1])
    system.start("reason", "clock:600")
    system.produce(FRAMES)
    system.drain()

    assert [metric(port, "triad_claims_lost_total")["inspect"] for port in ports] == [0, 0]
    assert system.number("SELECT count(*) FROM batch WHERE state = 'split' OR fence > 1") == 0
    away = system.number(
        "SELECT count(*) FROM verdict WHERE abs(extract(epoch FROM decided_at - now())) > 60"
    )
    assert away == 0
    assert system.assert_contract().verdict == FRAMES


def test_without_a_reasoner_fast_verdicts_go_on_and_the_backlog_is_seen(system: System) -> None:
    port = fresh_port()
    system.start("planner", http_port=port)
    system.start("inspect")
    system.produce(FRAMES)
    fast_s = system.drain(kinds=[BatchKind.INSPECT])
    waiting = FRAMES // 8  # each range has a frame that fails
    system.wait_until(
        lambda: metric(port, "triad_batches")["reason,planned"] == waiting, "the planner shows the backlog"
    )
    assert metric(port, "triad_backlog_age_seconds")["reason"] > 0
    assert system.number("SELECT count(*) FROM amendment") == 0

    system.start("reason", "taking:0.05")
    system.drain()

    print(f"fast verdicts in {fast_s:.2f} s, without a reasoner")  # noqa: T201
    assert system.number('SELECT count(DISTINCT (batch_id, "offset")) FROM amendment') == FRAMES // 5
    assert system.assert_contract().verdict == FRAMES
