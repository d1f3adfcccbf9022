"""Cutting logs into ranges: from offsets alone, bounded, by compare-and-swap; any number may plan."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from pipelines.errors import StageUnavailable
from storage import outbox, partition_stats
from storage.batches import LIVE_RUN, OpenRanges, cursors, open_cursor, open_ranges, plan, plan_lost
from storage.database import reading, transaction
from storage.partition_stats import PartitionStat
from storage.recipes import freeze_set
from workers.frame_log import FrameLog
from workers.messages import lost_span_message
from workers.plan_room import URGENT, Place, PlanBounds, Stop, Want, order, share
from workers.plan_watch import LogTrouble, LogWatch, Look, Trouble
from workers.planned import PartitionPlan, Planned

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

_log = structlog.get_logger(__name__)

UNKNOWN_BYTES = 256 * 1024  # of one offset's payload, until a range of its partition is finished
_NOTHING_OPEN = OpenRanges(ranges=0, frames=0, lowest=0)
_NOTHING_LEARNT = PartitionStat(bytes_per_offset=UNKNOWN_BYTES, line_priority=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ledger:
    """What is planned and learnt, read before any log: ends seen later can only be higher."""

    next: Mapping[Place, int]
    open: Mapping[Place, OpenRanges]
    stats: Mapping[Place, PartitionStat]
    unpublished: int

    def stat(self, place: Place) -> PartitionStat:
        return self.stats.get(place, _NOTHING_LEARNT)

    def of_log(self, log_id: int) -> dict[int, int]:
        return {partition: offset for (each, partition), offset in self.next.items() if each == log_id}


@dataclass(slots=True, kw_only=True)
class _Tick:
    """One look at everything, as far as it has come."""

    now: float
    ledger: _Ledger
    looks: dict[Place, Look] = field(default_factory=dict)
    next: dict[Place, int] = field(default_factory=dict)
    retention_s: dict[Place, float | None] = field(default_factory=dict)
    new_ranges: dict[Place, int] = field(default_factory=dict)
    troubles: dict[int, Trouble] = field(default_factory=dict)
    frames: int = 0
    lost: dict[int, int] = field(default_factory=dict)


class Planner:
    """Plans the logs of one run. One thread uses it; other planners, anywhere, may plan the same logs.

    ``on_cut_back`` is told a log's id when the log ends before what was planned of it. From then on it is
    another log: the callback gives it its next epoch and may ``watch`` that.
    """

    def __init__(
        self,
        engine: Engine,
        logs: Mapping[int, FrameLog],
        bounds: PlanBounds,
        *,
        run_id: int = LIVE_RUN,
        on_cut_back: Callable[[int], None] = lambda log_id: None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._engine = engine
        self._bounds = bounds
        self._run_id = run_id
        self._on_cut_back = on_cut_back
        self._monotonic = monotonic
        self._sleep = sleep
        self._watches: dict[int, LogWatch] = {}
        self._away: dict[int, LogWatch] = {}  # not to be planned now, and not forgotten
        self._stopped: set[Place] = set()
        for log_id, log in logs.items():
            self.watch(log_id, log)

    def watch(self, log_id: int, log: FrameLog) -> None:
        """Plan this log too."""
        self._watches[log_id] = LogWatch(log=log, sleep=self._sleep)

    def watch_only(self, logs: Mapping[int, FrameLog]) -> None:
        """Plan these logs and no others; what is known of each is kept while it is away."""
        self._away |= self._watches
        self._watches = {}
        for log_id, log in logs.items():
            known = self._away.pop(log_id, None)
            if known is None or known.log is not log:
                self.watch(log_id, log)
            else:
                self._watches[log_id] = known

    def give_up(self, log_id: int) -> int:
        """Of a log that is no more: what was seen of it and never planned is LOST; how many offsets.

        What came after the last look nobody can tell.

        Raises:
            StageUnavailable: The database does not answer; the log may be given up again.
        """
        watch = self._watches.get(log_id) or self._away.get(log_id)
        if watch is None:
            return 0
        lost = 0
        with transaction(self._engine) as connection:
            planned = cursors(connection, run_id=self._run_id)
            for partition, seen in watch.partitions.items():
                place = (log_id, partition)
                first = planned.get(place)
                if first is not None and first < seen.end and self._lose(connection, place, first, seen.end):
                    lost += seen.end - first
        self._watches.pop(log_id, None)
        self._away.pop(log_id, None)
        return lost

    def plan_once(self) -> Planned:
        """Look at every log and plan what the bounds allow; a log that is away does not stop the others.

        Another planner that was first is no error: the next look finds out.

        Raises:
            StageUnavailable: The database does not answer.
        """
        tick = _Tick(now=self._monotonic(), ledger=self._read_ledger())
        for log_id in list(self._watches):
            self._look(log_id, tick)
        self._begin(tick)
        self._give_up_lost(tick)
        stopped_by = self._cut(tick)
        return Planned(
            frames=tick.frames,
            ranges=sum(tick.new_ranges.values()),
            lost_by_log=tick.lost,
            open_bytes=_open_bytes(tick.ledger),
            stopped_by=stopped_by,
            partitions=tuple(self._partition(place, tick) for place in sorted(tick.next)),
            troubles=tick.troubles,
        )

    def _read_ledger(self) -> _Ledger:
        with reading(self._engine) as connection:
            return _Ledger(
                next=cursors(connection, run_id=self._run_id),
                open=open_ranges(connection, run_id=self._run_id),
                stats=partition_stats.read(connection),
                unpublished=outbox.unpublished_count(connection, at_most=self._bounds.most_unpublished + 1),
            )

    def _look(self, log_id: int, tick: _Tick) -> None:
        watch = self._watches[log_id]
        try:
            looks = watch.look(tick.ledger.of_log(log_id), tick.now)
        except StageUnavailable as outage:
            _log.warning("log does not answer", log=log_id, error=str(outage))
            tick.troubles[log_id] = Trouble.UNAVAILABLE
        except LogTrouble as trouble:
            _log.error("log is not planned", log=log_id, why=trouble.trouble.value, detail=str(trouble))
            tick.troubles[log_id] = trouble.trouble
            if trouble.trouble is Trouble.CUT_BACK:
                self._on_cut_back(log_id)
                self._away[log_id] = self._watches.pop(log_id)
        else:
            tick.looks |= {(log_id, partition): look for partition, look in looks.items()}

    def _begin(self, tick: _Tick) -> None:
        """Begin new partitions at their logs' start, at once: what is removed from now on is LOST."""
        tick.next = {place: tick.ledger.next[place] for place in tick.looks if place in tick.ledger.next}
        for place, look in tick.looks.items():
            if place in tick.next:
                continue
            with transaction(self._engine) as connection:
                first = open_cursor(connection, **self._at(place), start=look.start)
            if first == look.start:  # else another planner begins it, and our end may be older than its plan
                tick.next[place] = first

    def _give_up_lost(self, tick: _Tick) -> None:
        for place, first in tick.next.items():
            start = tick.looks[place].start
            if start <= first:
                continue
            with transaction(self._engine) as connection:
                is_ours = self._lose(connection, place, first, start)
            if is_ours:
                tick.lost[place[0]] = tick.lost.get(place[0], 0) + start - first
                tick.next[place] = start

    def _lose(self, connection: Connection, place: Place, first: int, end: int) -> bool:
        """False where another planner was first."""
        batch_id = plan_lost(
            connection,
            **self._at(place),
            expected_next=first,
            log_start=end,
            recipe_set_id=freeze_set(connection),
        )
        if batch_id is None:
            return False
        log_id, partition = place
        message = lost_span_message(
            batch_id=batch_id, fence=0, log_id=log_id, partition=partition, first=first, end=end
        )
        outbox.add(connection, [message] if self._run_id == LIVE_RUN else [])
        _log.error("frames lost before they were planned", **self._at(place), first=first, end=end)
        return True

    def _cut(self, tick: _Tick) -> Stop | None:
        bounds, ledger = self._bounds, tick.ledger
        wants = [want for place in tick.next if (want := self._want(place, tick)) is not None]
        if ledger.unpublished > bounds.most_unpublished:
            return Stop.UNPUBLISHED
        granted, stopped_by = share(
            wants,
            ranges=bounds.most_planned_batches - sum(each.ranges for each in ledger.open.values()),
            payload_bytes=bounds.most_planned_bytes - _open_bytes(ledger),
        )
        # Short ones first among equals: a partition with one range is not held up behind another's many.
        for want in sorted(wants, key=lambda want: (*order(want)[:2], granted[want.place])):
            if granted[want.place]:
                self._plan(want, granted[want.place], tick)
        return stopped_by

    def _want(self, place: Place, tick: _Tick) -> Want | None:
        """What of a partition may be cut now: full ranges, and the rest once it has waited or is urgent."""
        (log_id, partition), look, first = place, tick.looks[place], tick.next[place]
        if (look.end <= first and place not in tick.ledger.open) or self._is_stopped(place, tick.ledger):
            return None
        held = tick.ledger.open.get(place, _NOTHING_OPEN)
        urgent_end = self._urgent_end(place, tick, oldest_undone=held.lowest if held.ranges else first)
        stat = tick.ledger.stat(place)
        by_bytes = self._bounds.batch_bytes // max(1.0, stat.bytes_per_offset)
        frames_per_range = max(1, min(self._bounds.frames_per_batch, int(by_bytes)))
        rest = look.end - (look.end - first) % frames_per_range
        watch = self._watches[log_id].partitions[partition]
        # While a range of the partition waits for a worker, one that is not full would only wait behind it,
        # and be no larger for it: left to fill, it is done in fewer model calls.
        has_waited = held.unclaimed == 0 and watch.age_s(rest, tick.now) >= self._bounds.batch_wait_s
        is_due = has_waited or rest < urgent_end
        return Want(
            place=place,
            first=first,
            end=look.end if is_due else rest,
            frames_per_range=frames_per_range,
            bytes_per_offset=stat.bytes_per_offset,
            line_priority=stat.line_priority,
            urgent_end=urgent_end,
            open_ranges=held.ranges,
            waited_s=watch.age_s(first, tick.now),
        )

    def _urgent_end(self, place: Place, tick: _Tick, *, oldest_undone: int) -> int:
        log_id, partition = place
        try:
            expiry = self._watches[log_id].expiry(partition, oldest_undone, tick.now)
        except StageUnavailable as outage:
            _log.warning("log does not say what it removes next", log=log_id, error=str(outage))
            return 0
        tick.retention_s[place] = expiry.retention_s
        return expiry.urgent_end

    def _plan(self, want: Want, ranges: int, tick: _Tick) -> None:
        urgent = min(ranges, want.urgent_ranges)
        first = want.first
        with transaction(self._engine) as connection:
            recipe_set_id = freeze_set(connection)
            for count, priority in ((urgent, URGENT + want.line_priority), (ranges, want.line_priority)):
                end = min(want.end, want.first + count * want.frames_per_range)
                if end <= first:
                    continue
                ids = plan(
                    connection,
                    **self._at(want.place),
                    expected_next=first,
                    end=end,
                    frames_per_batch=want.frames_per_range,
                    recipe_set_id=recipe_set_id,
                    priority=priority,
                )
                if ids is None:
                    return
                first = end
        tick.frames += first - want.first
        tick.new_ranges[want.place] = ranges
        tick.next[want.place] = first
        log_id, partition = want.place
        self._watches[log_id].partitions[partition].forget_below(first)

    def _partition(self, place: Place, tick: _Tick) -> PartitionPlan:
        (log_id, partition), look, first = place, tick.looks[place], tick.next[place]
        held = tick.ledger.open.get(place, _NOTHING_OPEN)
        return PartitionPlan(
            log_id=log_id,
            partition=partition,
            log_start=look.start,
            log_end=look.end,
            next_offset=first,
            open_ranges=held.ranges + tick.new_ranges.get(place, 0),
            oldest_unplanned_s=self._watches[log_id].partitions[partition].age_s(first, tick.now),
            retention_s=tick.retention_s.get(place),
            dead_share=tick.ledger.stat(place).dead_share,
            is_stopped=place in self._stopped,
        )

    def _is_stopped(self, place: Place, ledger: _Ledger) -> bool:
        """Whether what comes here is rubbish: it waits in the log, unharmed, until somebody has looked."""
        share = ledger.stat(place).dead_share
        is_stopped = share > self._bounds.stop_ratio
        if is_stopped and place not in self._stopped:
            _log.critical("partition stopped, its frames are dead letters", **self._at(place), share=share)
            self._stopped.add(place)
        elif not is_stopped and place in self._stopped:
            _log.warning("partition goes on", **self._at(place), share=share)
            self._stopped.discard(place)
        return is_stopped

    def _at(self, place: Place) -> dict[str, int]:
        return {"run_id": self._run_id, "log_id": place[0], "partition": place[1]}


def _open_bytes(ledger: _Ledger) -> float:
    return sum(each.frames * ledger.stat(at).bytes_per_offset for at, each in ledger.open.items())
