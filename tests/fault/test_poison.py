"""Frames that no model can bear: they take nobody with them, whatever they do and wherever they stand."""

from tests.fault.distributed import System, picture
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
    # Halved twice, and then twice alone: each poison took four workers down, and no more.
    print(f"{system.deaths} workers died of {size} frames")  # noqa: T201
    assert system.deaths == size * 4
    assert system.assert_contract().verdict == size * (size - 1)
