"""Room is shared by backlog, and nobody starves; what is urgent or important goes first."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.plan_room import Place, Stop, Want, share


def want(partition: int, frames: int, **values: Any) -> Want:
    """Frames ready to be cut by ten, of one byte each."""
    defaults: dict[str, Any] = {"frames_per_range": 10, "bytes_per_offset": 1.0, "first": 0}
    first = values.get("first", 0)
    return Want(place=(1, partition), end=first + frames, **{**defaults, **values})


def shared(*wants: Want, ranges: int, payload_bytes: float = 1e9) -> tuple[list[int], Stop | None]:
    granted, stop = share(wants, ranges=ranges, payload_bytes=payload_bytes)
    return [granted[each.place] for each in wants], stop


def test_everything_is_granted_where_there_is_room() -> None:
    assert shared(want(0, 25), want(1, 10), want(2, 0), ranges=100) == ([3, 1, 0], None)


def test_room_is_shared_in_proportion_to_what_is_ready() -> None:
    assert shared(want(0, 9000), want(1, 1000), ranges=20) == ([18, 2], Stop.RANGES)
    assert shared(want(0, 3000), want(1, 3000), ranges=10) == ([5, 5], Stop.RANGES)


def test_a_short_partition_gets_one_range_beside_an_endless_one() -> None:
    assert shared(want(0, 1_000_000), want(1, 3), ranges=5) == ([4, 1], Stop.RANGES)


def test_what_is_open_already_counts_as_held() -> None:
    assert shared(want(0, 1000, open_ranges=8), want(1, 1000, open_ranges=2), ranges=6)[0] == [0, 6]


def test_a_partition_with_nothing_open_comes_before_higher_ones_that_have_some() -> None:
    important = want(0, 1000, line_priority=9, open_ranges=5)

    assert shared(important, want(1, 1000), ranges=1)[0] == [0, 1]


def test_higher_lines_get_all_that_the_floors_leave() -> None:
    assert shared(want(0, 1000), want(1, 1000, line_priority=7), want(2, 1000), ranges=10)[0] == [1, 8, 1]


def test_higher_lines_come_first_where_there_is_not_even_room_for_the_floors() -> None:
    assert shared(want(0, 50), want(1, 50, line_priority=1), ranges=1)[0] == [0, 1]


def test_what_the_log_will_soon_remove_comes_before_all_else() -> None:
    important, urgent = want(0, 1000, line_priority=9), want(1, 1000, urgent_end=55)

    assert shared(important, urgent, ranges=1)[0] == [0, 1]
    assert shared(important, urgent, ranges=10)[0] == [4, 6], "six ranges begin below 55"


def test_among_equals_the_longest_waiting_comes_first() -> None:
    assert shared(want(0, 5, waited_s=1), want(1, 5, waited_s=3), want(2, 5, waited_s=2), ranges=2)[0] == [
        0,
        1,
        1,
    ]


def test_the_last_range_may_exceed_the_bytes_and_no_range_after_it() -> None:
    assert shared(want(0, 100), ranges=50, payload_bytes=25) == ([3], Stop.BYTES)
    assert shared(want(0, 100), ranges=50, payload_bytes=0) == ([0], Stop.BYTES)


def test_too_much_open_leaves_no_room() -> None:
    assert shared(want(0, 100), ranges=-3) == ([0], Stop.RANGES)


def test_nothing_wanted_is_stopped_by_nothing() -> None:
    assert shared(want(0, 0), ranges=0) == ([0], None)


@pytest.mark.parametrize(("urgent_end", "ranges"), [(0, 0), (20, 0), (21, 1), (30, 1), (31, 2), (99, 2)])
def test_a_range_is_urgent_where_it_begins_below_what_goes(urgent_end: int, ranges: int) -> None:
    assert want(0, 15, first=20, urgent_end=urgent_end).urgent_ranges == ranges


wants = st.lists(
    st.builds(
        want,
        frames=st.integers(0, 500),
        partition=st.just(0),
        line_priority=st.integers(0, 9),
        urgent_end=st.integers(0, 500),
        open_ranges=st.integers(0, 20),
        waited_s=st.floats(0, 100),
    ),
    max_size=8,
)


@given(wants, st.integers(-5, 80), st.floats(-5, 2000))
def test_the_bounds_hold_and_the_floor_with_them(some: list[Want], ranges: int, payload_bytes: float) -> None:
    numbered = [
        Want(**{**{name: getattr(each, name) for name in Want.__slots__}, "place": (1, number)})
        for number, each in enumerate(some)
    ]
    granted, stop = share(numbered, ranges=ranges, payload_bytes=payload_bytes)

    assert sum(granted.values()) <= max(0, ranges)
    assert sum(granted.values()) <= max(0, payload_bytes) / 10 + 1
    assert all(0 <= granted[each.place] <= each.ranges for each in numbered)
    hungry: list[Place] = [each.place for each in numbered if granted[each.place] < each.ranges]
    assert (stop is None) == (not hungry)
    if any(granted[each.place] > 1 for each in numbered):
        assert all(granted[each.place] for each in numbered if each.ranges and not each.open_ranges)
