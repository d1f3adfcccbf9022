"""A log that is no more: its topic was made again, or cut back. What was not read of it is LOST."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from workers.frame_log import LogIdentity, RangeRead, absences


@dataclass(frozen=True, slots=True, kw_only=True)
class GoneLog:
    """A `FrameLog` for ranges that were planned while it was there."""

    identity: LogIdentity

    def partitions(self) -> Sequence[int]:
        return ()

    def start_offset(self, partition: int) -> int:
        return 0

    def end_offset(self, partition: int) -> int:
        return 0

    def offsets(self, partitions: Sequence[int]) -> dict[int, tuple[int, int]]:
        return {each: (self.start_offset(each), self.end_offset(each)) for each in partitions}

    def expiring_before(self, partition: int, within: timedelta) -> int:
        return 0

    def read(self, partition: int, first: int, end: int, *, most_bytes: int) -> RangeRead:
        lost = absences(first=first, position=end, log_start=end, present=())
        return RangeRead(first=first, position=end, records=(), absences=lost)
