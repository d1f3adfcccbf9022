"""Frames that no model can bear: they take nobody with them, whatever they do and wherever they stand."""

import time

from tests.fault.distributed import System, fresh_port, metric, page, picture
from tests.fault.triad_with_fakes import KILLS, RAISES

FRAMES_PER_BATCH = 8


def one_in_each_position(mark: int, size: int) -> list[bytes]:
    """As many batches as a batch has places, each with its poison in another one."""
    plates = [picture(False, noise) for noise in range(size)]
    poison = picture(False, 0, mark)
    return [poison if at == position else plates[at] for position in range(size) for at in range(size)]


def dead_letters(system: System) -> list[tuple[int, str]]:
    return [tuple(row) for row in system.rows('SELECT "offset", reason FROM dead_letter ORDER BY "offset"')]


def test_a_frame_that_raises_in_any_position_is_a_dead_letter_and_its_neighbours_get_verdicts(
    system: System,
) -> None:
    system.send(one_in_each_position(RAISES, FRAMES_PER_BATCH))
    system.start("planner")
    worker = system.start("inspect", "poison")
    system.start("reason")
    system.drain()

    poison = [position * FRAMES_PER_BATCH + position for position in range(FRAMES_PER_BATCH)]
    assert dead_letters(system) == [(offset, "kills_inspector") for offset in poison]
    assert system.number("SELECT count(*) FROM batch WHERE state = 'split'") == 0
    assert worker.is_running
    assert system.assert_contract().verdict == FRAMES_PER_BATCH * (FRAMES_PER_BATCH - 1)


def test_a_frame_that_kills_in_any_position_is_cornered_and_its_neighbours_get_verdicts(
    system: System,
) -> None:
    size = 4
    system.variables |= {
        "TRIAD_FRAMES_PER_BATCH": str(size),
        "TRIAD_ATTEMPT_LIMIT": "2",
        "TRIAD_LEASE_S": "1.5",
    }
    system.send(one_in_each_position(KILLS, size))
    system.start("planner")
    for _ in range(4):
        system.keep("inspect", "poison")
    system.start("reason")
    system.drain(within_s=60)

    assert dead_letters(system) == [
        (position * size + position, "kills_inspector") for position in range(size)
    ]
    # Halved twice, and then twice alone: each poison took four workers down at most.
    print(f"{system.deaths} workers died of {size} frames")  # noqa: T201
    assert size < system.deaths <= size * 4
    assert system.assert_contract().verdict == size * (size - 1)


def test_a_frame_that_is_in_the_same_hands_as_a_killer_is_not_given_up_with_it(system: System) -> None:
    """One worker with two ranges at once: whatever took it down once is then held alone."""
    system.variables |= {"TRIAD_FRAMES_PER_BATCH": "2", "TRIAD_ATTEMPT_LIMIT": "2", "TRIAD_LEASE_S": "1"}
    system.send([picture(False, 0, KILLS), picture(False, 1), picture(False, 2), picture(False, 3)])
    system.start("planner")
    system.keep("inspect", "poison,taking:0.3", ranges_at_once=2)
    system.start("reason")
    system.drain(within_s=60)

    assert dead_letters(system) == [(0, "kills_inspector")]
    assert system.assert_contract().verdict == 3


def test_where_every_frame_is_rubbish_the_partition_stops_loudly_and_goes_on_when_told(
    system: System,
) -> None:
    """Averaged over 20 frames, 0.9 is passed at the seventh range of eight; what is planned by then ends."""
    system.variables |= {"TRIAD_STOP_RATIO_FRAMES": "20", "TRIAD_MOST_PLANNED_BATCHES": "2"}
    port = fresh_port()
    rubbish = [b"not a picture %d" % number for number in range(200)]
    system.produce(40, partition=1)
    system.send(rubbish, partition=0)
    planner = system.start("planner", http_port=port)
    system.start("inspect")
    system.start("reason")

    system.wait_until(
        lambda: (
            [key for key, is_stopped in metric(port, "triad_planning_stopped").items() if is_stopped]
            == [f"0,{system.topic}"]
        ),
        "the planner stops this partition",
    )
    system.wait_until(lambda: system.leases() == 0, "what was planned is done")
    planned = planned_of(system, 0)
    assert 40 <= planned < 100, "not all, and not at the first bad frame"
    assert "critical" in planner.said()
    assert f"stopped, all dead letters: {system.topic}[0]" in page(port, "readyz?verbose")
    system.produce(40, partition=1)
    system.wait_until(lambda: system.verdicts == 80, "the other partition goes on")
    assert planned_of(system, 0) == planned

    system.produce(20, partition=0)
    while planned_of(system, 0) < 220:
        resume(system)
        time.sleep(0.2)
    system.drain()

    assert {reason for _, reason in dead_letters(system)} == {"unsupported_format"}
    found = system.assert_contract()
    assert (found.dead_letter, found.verdict) == (200, 100)


def planned_of(system: System, partition: int) -> int:
    return system.number(
        'SELECT coalesce(max(next_offset), 0) FROM plan_cursor WHERE "partition" = :partition',
        partition=partition,
    )


def resume(system: System) -> None:
    told = system.command("topics", "resume", system.topic)
    assert told.wait(10) == 0, told.said()
