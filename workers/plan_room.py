"""Who may plan how much: a bounded room of ranges and bytes, shared among partitions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

Place = tuple[int, int]  # log id, partition

URGENT = 100  # added to the priority of ranges that the log will soon remove


class Stop(StrEnum):
    """Which bound kept something from being planned."""

    RANGES = "ranges"  # too many open
    BYTES = "bytes"  # too many in open ranges, by estimate
    UNPUBLISHED = "unpublished"  # the sink is slow: too many messages wait


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanBounds:
    """How large a range is, and how much may be planned and not done. Bytes are estimates, of payload.

    A partition of whose last frames more than ``stop_ratio`` are dead letters is not planned; 1 plans all.
    """

    frames_per_batch: int
    batch_bytes: int
    batch_wait_s: float  # a range that is not full is cut when its oldest offset has waited this long
    most_planned_batches: int
    most_planned_bytes: int
    most_unpublished: int
    stop_ratio: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """What one partition could have cut now: ``first <= offset < end``, by ``frames_per_range``.

    Ranges that begin below ``urgent_end`` will soon be removed by the log. ``open_ranges`` are planned and
    not done; ``waited_s`` is the age of the oldest unplanned offset.
    """

    place: Place
    first: int
    end: int
    frames_per_range: int
    bytes_per_offset: float
    line_priority: int = 0
    urgent_end: int = 0
    open_ranges: int = 0
    waited_s: float = 0.0

    @property
    def ranges(self) -> int:
        return -(-(self.end - self.first) // self.frames_per_range)

    @property
    def urgent_ranges(self) -> int:
        until = min(self.urgent_end, self.end)
        return max(0, -(-(until - self.first) // self.frames_per_range))

    @property
    def bytes_per_range(self) -> float:
        return self.frames_per_range * self.bytes_per_offset


def order(want: Want) -> tuple[bool, int, float]:
    """Urgent ones first, then by line priority, then the longest waiting."""
    return want.urgent_ranges == 0, -want.line_priority, -want.waited_s


def share(
    wants: Sequence[Want], *, ranges: int, payload_bytes: float
) -> tuple[dict[Place, int], Stop | None]:
    """How many ranges each partition may cut, and the bound that left something uncut.

    A partition with nothing open gets one range before any other gets more, so that a long backlog starves
    nobody. Then urgent ranges come before others and higher line priorities before lower; among equals, open
    and new ranges together are shared in proportion to what is ready.
    """
    room = _Room(ranges=ranges, payload_bytes=payload_bytes)
    granted = {want.place: 0 for want in wants}
    ordered = sorted((want for want in wants if want.ranges), key=order)
    for want in ordered:
        if want.open_ranges == 0 and room.take(want):
            granted[want.place] = 1
    for limit in (_urgent_ranges, _ranges):
        for priority in sorted({want.line_priority for want in ordered}, reverse=True):
            equals = [want for want in ordered if want.line_priority == priority]
            _share_among(equals, limit, granted, room)
    is_all = all(granted[want.place] == want.ranges for want in ordered)
    return granted, None if is_all else room.full_of


def _share_among(
    equals: Sequence[Want], limit: Callable[[Want], int], granted: dict[Place, int], room: "_Room"
) -> None:
    """By highest averages (D'Hondt): each range goes where most frames are ready per range held."""

    def frames_per_range_held(want: Want) -> float:
        return (want.end - want.first) / (want.open_ranges + granted[want.place] + 1)

    while hungry := [want for want in equals if granted[want.place] < limit(want)]:
        next_one = max(hungry, key=frames_per_range_held)
        if not room.take(next_one):
            return
        granted[next_one.place] += 1


def _urgent_ranges(want: Want) -> int:
    return want.urgent_ranges


def _ranges(want: Want) -> int:
    return want.ranges


@dataclass(slots=True, kw_only=True)
class _Room:
    """What is left. The last range may exceed the bytes: else one larger than all would never be planned."""

    ranges: int
    payload_bytes: float

    @property
    def full_of(self) -> Stop | None:
        if self.ranges <= 0:
            return Stop.RANGES
        return Stop.BYTES if self.payload_bytes <= 0 else None

    def take(self, want: Want) -> bool:
        if self.full_of is not None:
            return False
        self.ranges -= 1
        self.payload_bytes -= want.bytes_per_range
        return True
