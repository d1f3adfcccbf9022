"""How the planner sees a log: offsets that it believes, and since when they have waited."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

import structlog

from pipelines.errors import InspectionError
from workers.frame_log import FrameLog

_log = structlog.get_logger(__name__)

URGENT_WITHIN = timedelta(hours=1)

_LOOKS = 3  # at an offset that should not be, before it is believed: brokers give wrong ones while they move
_BETWEEN_LOOKS_S = 0.2
_MOST_MARKS = 256
_EXPIRY_EVERY_S = 10.0  # what the log removes next is asked this often: it costs a search in the log
_EXPIRY_STEPS = tuple(timedelta(seconds=each) for each in (60, 300, 900, 3600, 4 * 3600, 12 * 3600, 86_400))


class Trouble(StrEnum):
    """Why a log is not planned."""

    UNAVAILABLE = "unavailable"  # it does not answer
    FEWER_PARTITIONS = "fewer_partitions"  # it names none, or fewer than it had
    ODD_OFFSETS = "odd_offsets"  # it ends before it starts
    CUT_BACK = "cut_back"  # it ends before what was planned: its offsets will be given out again


class LogTrouble(InspectionError):
    """A log that cannot be planned now, and why."""

    def __init__(self, trouble: Trouble, detail: str) -> None:
        super().__init__(detail)
        self.trouble = trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A partition's first kept offset and its end, both believed; the end is never below what was planned."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """``urgent_end``: records below it go within the hour; ``retention_s``: of the oldest undone offset.

    ``retention_s`` is a lower bound, in steps; None beyond a day, or if the log cannot tell.
    """

    urgent_end: int = 0
    retention_s: float | None = None


@dataclass(slots=True, kw_only=True)
class PartitionWatch:
    """One partition over time. ``marks`` say since when the log reached how far, ascending."""

    marks: list[tuple[int, float]] = field(default_factory=list)
    expiry: Expiry = Expiry()
    asked_at: float | None = None

    @property
    def end(self) -> int:
        return self.marks[-1][0] if self.marks else 0

    def saw(self, end: int, now: float) -> None:
        if self.marks and end < self.end:
            self.marks = [(min(end, reached), since) for reached, since in self.marks]
        if not self.marks or end > self.end:
            self.marks.append((end, now))
        if len(self.marks) > _MOST_MARKS:  # an outage of days: to be too early by one mark does no harm
            pairs = zip(self.marks[0::2], self.marks[1::2], strict=False)
            self.marks = [(reached, since) for (_, since), (reached, _) in pairs] + self.marks[-1:]

    def age_s(self, offset: int, now: float) -> float:
        """How long ago this planner first saw the offset in the log; 0 for one that is not there yet."""
        return next((now - since for reached, since in self.marks if reached > offset), 0.0)

    def forget_below(self, offset: int) -> None:
        """What is planned no longer waits."""
        self.marks = [mark for mark in self.marks[:-1] if mark[0] > offset] + self.marks[-1:]


@dataclass(slots=True, kw_only=True)
class LogWatch:
    """One log over time; ``partitions`` by number."""

    log: FrameLog
    sleep: Callable[[float], None] = time.sleep
    partitions: dict[int, PartitionWatch] = field(default_factory=dict)

    def look(self, planned: Mapping[int, int], now: float) -> dict[int, Look]:
        """Every partition as it is now; ``planned`` is each one's next offset to plan, read before.

        Raises:
            StageUnavailable: The log does not answer.
            LogTrouble: What it answers is nothing to plan by.
        """
        here = list(self.log.partitions())
        missing = {*planned, *self.partitions} - set(here)
        if not here or missing:
            raise LogTrouble(
                Trouble.FEWER_PARTITIONS, f"partitions {sorted(missing)} are gone; it names {sorted(here)}"
            )
        grown = set(here) - {*planned, *self.partitions}
        if grown and self.partitions:
            _log.warning(
                "log has more partitions: keys move, a line's order holds from here on only",
                log=self.log.identity.id,
                partitions=sorted(grown),
            )
        offsets = self.log.offsets(here)
        looks = {each: self._look(each, planned.get(each), *offsets[each]) for each in here}
        for partition, look in looks.items():
            self.partitions.setdefault(partition, PartitionWatch()).saw(look.end, now)
        return looks

    def _look(self, partition: int, planned: int | None, start: int, end: int) -> Look:
        watch = self.partitions.get(partition, PartitionWatch())
        least_end = max(watch.end, planned or 0)
        for _ in range(_LOOKS):
            if end >= max(start, least_end) and (planned is None or start <= planned):
                break
            self.sleep(_BETWEEN_LOOKS_S)
            start, end = self.log.offsets([partition])[partition]
        place = f"partition {partition}"
        if planned is not None and end < planned:
            raise LogTrouble(Trouble.CUT_BACK, f"{place} ends at {end}, and was planned up to {planned}")
        if end < start:
            raise LogTrouble(Trouble.ODD_OFFSETS, f"{place} starts at {start} and ends at {end}")
        return Look(start=start, end=end)

    def expiry(self, partition: int, oldest_undone: int, now: float) -> Expiry:
        """What the log will soon remove of what is not done; asked now and then only.

        Raises:
            StageUnavailable: The log does not answer.
        """
        watch = self.partitions[partition]
        if watch.asked_at is None or now - watch.asked_at >= _EXPIRY_EVERY_S:
            watch.expiry, watch.asked_at = self._expiry(partition, oldest_undone), now
        return watch.expiry

    def _expiry(self, partition: int, oldest_undone: int) -> Expiry:
        def goes_within(step: timedelta) -> bool:
            return self.log.expiring_before(partition, step) > oldest_undone

        if not goes_within(_EXPIRY_STEPS[-1]):
            return Expiry()
        at_least = timedelta(0)
        for step in _EXPIRY_STEPS[:-1]:
            if goes_within(step):
                break
            at_least = step
        return Expiry(
            urgent_end=self.log.expiring_before(partition, URGENT_WITHIN),
            retention_s=at_least.total_seconds(),
        )
