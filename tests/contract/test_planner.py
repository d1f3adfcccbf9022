"""The planner: bounded and fair, believes no single odd answer, and loses nothing without saying so."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from pipelines.errors import StageUnavailable
from storage import outbox, partition_stats
from storage.absences import list_absences
from storage.audit import audit
from storage.batches import LIVE_RUN, Claim, cursors, finish
from storage.database import reading, transaction
from storage.logs import get_log, next_epoch, open_log
from storage.partition_stats import FrameEnds, forgive
from storage.schema import AbsenceKind, LogKind
from storage.verdicts import save_verdicts
from tests.contract.stream import Stream, in_threads
from tests.fake_log import FakeLog
from workers.frame_log import FrameLog
from workers.plan_room import URGENT, PlanBounds, Stop
from workers.plan_watch import Trouble
from workers.planned import PartitionPlan, Planned
from workers.planner import Planner

BOUNDS = PlanBounds(
    frames_per_batch=4,
    batch_bytes=1_000_000_000,
    batch_wait_s=0.0,
    most_planned_batches=1000,
    most_planned_bytes=1_000_000_000_000,
    most_unpublished=1000,
)


@dataclass(slots=True, kw_only=True)
class Time:
    """A clock that moves when told; waiting moves it."""

    now: float = 100.0
    slept: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """A ledger, a log of some partitions, and a clock."""

    stream: Stream
    log: FakeLog
    time: Time

    def planner(self, *, logs: Mapping[int, FrameLog] | None = None, **values: Any) -> Planner:
        on_cut_back: Callable[[int], None] = values.pop("on_cut_back", lambda log_id: None)
        return Planner(
            self.stream.engine,
            {self.stream.log_id: self.log} if logs is None else logs,
            replace(BOUNDS, **values),
            on_cut_back=on_cut_back,
            monotonic=self.time.monotonic,
            sleep=self.time.sleep,
        )

    def ranges(self, partition: int = 0) -> list[tuple[int, int, int]]:
        """First and end offset and priority of what is planned of a partition."""
        asked = text(
            'SELECT first_offset, end_offset, priority FROM batch WHERE "partition" = :partition '
            "AND state = 'planned' ORDER BY first_offset"
        )
        with reading(self.stream.engine) as connection:
            return [tuple(row) for row in connection.execute(asked, {"partition": partition})]

    def work_off(self, *, payload_bytes: int = 0, line_priority: int = 0, most: int = 1000) -> list[Claim]:
        claims: list[Claim] = []
        while len(claims) < most and (claim := self.stream.claim()):
            with transaction(self.stream.engine) as connection:
                save_verdicts(connection, claim, self.stream.verdicts(claim))
                if payload_bytes:
                    offsets = claim.end_offset - claim.first_offset
                    partition_stats.learn(
                        connection,
                        claim,
                        payload_bytes=payload_bytes * offsets,
                        offsets=offsets,
                        line_priority=line_priority,
                    )
                finish(connection, claim)
            claims.append(claim)
        return claims

    def is_clean(self) -> bool:
        with reading(self.stream.engine) as connection:
            return all(each.is_clean for each in audit(connection))


@pytest.fixture
def plant(stream: Stream) -> Plant:
    return Plant(stream=stream, log=FakeLog(partitions=3), time=Time())


def of(planned: Planned, partition: int = 0) -> PartitionPlan:
    (found,) = (each for each in planned.partitions if each.partition == partition)
    return found


class TestRanges:
    def test_every_partition_is_cut_by_count(self, plant: Plant) -> None:
        plant.log.grow(10)
        plant.log.grow(4, partition=1)

        planned = plant.planner().plan_once()

        assert (planned.frames, planned.ranges, planned.stopped_by) == (14, 4, None)
        assert plant.ranges() == [(0, 4, 0), (4, 8, 0), (8, 10, 0)]
        assert plant.ranges(1) == [(0, 4, 0)]
        assert plant.ranges(2) == []

    def test_nothing_new_is_nothing_to_plan(self, plant: Plant) -> None:
        plant.log.grow(10)
        planner = plant.planner()
        planner.plan_once()

        assert planner.plan_once().frames == 0

    def test_a_partition_begins_where_its_log_does(self, plant: Plant) -> None:
        plant.log.grow(10)
        plant.log.expire(6)

        planned = plant.planner().plan_once()

        assert plant.ranges() == [(6, 10, 0)]
        assert planned.lost == 0

    def test_a_range_that_is_not_full_waits(self, plant: Plant) -> None:
        plant.log.grow(6)
        planner = plant.planner(batch_wait_s=2.0)

        waiting = planner.plan_once()
        assert plant.ranges() == [(0, 4, 0)]
        assert of(waiting).backlog == 2
        plant.work_off()
        plant.time.now += 1.0
        plant.log.grow(1)
        planner.plan_once()
        assert plant.ranges() == []
        plant.time.now += 1.0
        planner.plan_once()
        assert plant.ranges() == [(4, 7, 0)], "its oldest offset has waited two seconds"

    def test_a_range_is_left_to_fill_while_one_before_it_waits_for_a_worker(self, plant: Plant) -> None:
        plant.log.grow(6)
        planner = plant.planner()
        planner.plan_once()
        plant.log.grow(1)
        plant.log.grow(1, partition=1)

        planner.plan_once()
        assert plant.ranges() == [(0, 4, 0), (4, 6, 0)], "cut now, it would be no sooner done"
        assert plant.ranges(1) == [(0, 1, 0)], "each partition by itself"
        plant.log.grow(3)
        planner.plan_once()
        assert plant.ranges() == [(0, 4, 0), (4, 6, 0), (6, 10, 0)], "full"

        plant.log.grow(1)
        for _ in range(4):
            plant.stream.must_claim()
        planner.plan_once()
        assert plant.ranges() == [(10, 11, 0)], "the ones before it are with workers"

    def test_the_wait_of_what_came_later_begins_later(self, plant: Plant) -> None:
        planner = plant.planner(batch_wait_s=2.0)
        plant.log.grow(3)
        planner.plan_once()
        plant.time.now += 1.5
        plant.log.grow(2)
        planner.plan_once()
        plant.time.now += 1.0

        assert plant.ranges() == [(0, 4, 0)]
        plant.work_off()
        planner.plan_once()
        assert plant.ranges() == [], "the fifth has waited for one second"

    def test_ranges_are_cut_by_the_bytes_that_earlier_ones_held(self, plant: Plant) -> None:
        plant.log.grow(8)
        planner = plant.planner(batch_bytes=2_500)
        planner.plan_once()
        assert plant.ranges()[0] == (0, 1, 0), "unknown frames are taken as large"
        plant.work_off(payload_bytes=1_000)
        plant.log.grow(5)

        planner.plan_once()

        assert plant.ranges() == [(8, 10, 0), (10, 12, 0), (12, 13, 0)]

    def test_a_frame_larger_than_a_range_is_planned_alone(self, plant: Plant) -> None:
        plant.log.grow(2)
        plant.planner(batch_bytes=1).plan_once()

        assert plant.ranges() == [(0, 1, 0), (1, 2, 0)]

    def test_what_was_seen_is_told(self, plant: Plant) -> None:
        plant.log.grow(11)
        planner = plant.planner(most_planned_batches=2)
        planner.plan_once()
        plant.time.now += 7.0

        found = of(planner.plan_once())

        assert (found.log_id, found.log_start, found.log_end) == (plant.stream.log_id, 0, 11)
        assert (found.next_offset, found.backlog, found.open_ranges) == (8, 3, 2)
        assert found.oldest_unplanned_s == 7.0
        assert found.retention_s is None

    def test_a_long_outage_fills_no_memory_and_forgets_no_age(self, plant: Plant) -> None:
        planner = plant.planner(most_planned_batches=1)
        for _ in range(600):
            plant.log.grow(1)
            plant.time.now += 1.0
            planner.plan_once()

        watch = planner._watches[plant.stream.log_id].partitions[0]
        assert len(watch.marks) <= 256
        assert of(planner.plan_once()).oldest_unplanned_s >= 590


class TestRoom:
    def test_no_more_ranges_than_allowed_are_open(self, plant: Plant) -> None:
        plant.log.grow(100)
        planner = plant.planner(most_planned_batches=3)

        planned = planner.plan_once()
        assert (planned.ranges, planned.stopped_by) == (3, Stop.RANGES)
        assert planner.plan_once().ranges == 0
        plant.work_off(most=2)
        assert planner.plan_once().ranges == 2

    def test_no_more_bytes_than_allowed_are_open(self, plant: Plant) -> None:
        plant.log.grow(4)
        planner = plant.planner(most_planned_bytes=30_000)
        planner.plan_once()
        plant.work_off(payload_bytes=1_000)
        plant.log.grow(100)

        planned = planner.plan_once()

        assert (planned.ranges, planned.stopped_by) == (8, Stop.BYTES), "4,000 bytes each"

    def test_a_slow_sink_stops_all_planning(self, plant: Plant) -> None:
        plant.log.grow(10)
        with transaction(plant.stream.engine) as connection:
            outbox.add(connection, [("line-1", "verdict", {})] * 6)
        planner = plant.planner(most_unpublished=5)

        stopped = planner.plan_once()

        assert (stopped.ranges, stopped.stopped_by) == (0, Stop.UNPUBLISHED)
        assert of(stopped).backlog == 10
        with transaction(plant.stream.engine) as connection:
            outbox.mark_published(connection, outbox.unpublished(connection, "line-1", limit=1))
        assert planner.plan_once().ranges == 3

    def test_a_long_partition_leaves_room_for_short_ones(self, plant: Plant) -> None:
        plant.log.grow(1000)
        plant.log.grow(2, partition=1)
        plant.log.grow(100, partition=2)

        plant.planner(most_planned_batches=12).plan_once()

        assert [len(plant.ranges(partition)) for partition in range(3)] == [10, 1, 1]
        assert [claim.partition for claim in plant.work_off(most=2)] == [1, 2], "short ones are not held up"

    def test_higher_lines_are_planned_and_claimed_first(self, plant: Plant) -> None:
        plant.log.grow(4, partition=1)
        planner = plant.planner(most_planned_batches=6)
        planner.plan_once()
        plant.work_off(payload_bytes=10, line_priority=7)
        plant.log.grow(100)
        plant.log.grow(16, partition=1)

        planner.plan_once()

        assert [priority for *_, priority in plant.ranges(1)] == [7] * 4
        assert len(plant.ranges()) == 2, "what the higher line leaves"
        assert [claim.partition for claim in plant.work_off()] == [1] * 4 + [0] * 2


class TestUrgency:
    def test_what_the_log_will_soon_remove_goes_before_all_else(self, plant: Plant) -> None:
        plant.log.grow(4, partition=1)
        planner = plant.planner(most_planned_batches=6)
        planner.plan_once()
        plant.work_off(payload_bytes=10, line_priority=7)
        plant.log.grow(40)
        plant.log.grow(40, partition=1)
        plant.log.partitions_of[0].expires_in = [(9, timedelta(minutes=30))]

        planned = planner.plan_once()

        assert plant.ranges() == [(0, 4, URGENT), (4, 8, URGENT), (8, 12, URGENT)]
        assert len(plant.ranges(1)) == 3
        assert of(planned).retention_s == 900.0, "in half an hour, so at least in a quarter"
        assert [claim.partition for claim in plant.work_off(most=4)] == [0, 0, 0, 1]

    def test_an_urgent_rest_does_not_wait_to_be_full(self, plant: Plant) -> None:
        plant.log.grow(2)
        plant.log.partitions_of[0].expires_in = [(1, timedelta(minutes=1))]

        planned = plant.planner(batch_wait_s=60.0).plan_once()

        assert plant.ranges() == [(0, 2, URGENT)]
        assert of(planned).retention_s == 0.0

    def test_what_is_planned_and_not_done_is_still_in_danger(self, plant: Plant) -> None:
        plant.log.grow(4)
        planner = plant.planner()
        planner.plan_once()
        plant.log.partitions_of[0].expires_in = [(2, timedelta(hours=2))]
        plant.time.now += 60

        assert of(planner.plan_once()).retention_s == 3600.0
        plant.work_off()
        assert of(planner.plan_once()).retention_s is None

    def test_the_log_is_not_asked_at_every_look(self, plant: Plant) -> None:
        planner = plant.planner(batch_wait_s=60.0)
        plant.log.grow(1)
        for _ in range(20):
            planner.plan_once()
            plant.time.now += 0.1

        assert plant.log.expiry_asked == 1


class TestLosses:
    def test_what_was_removed_before_it_was_planned_is_one_loss(self, plant: Plant) -> None:
        plant.log.grow(4)
        planner = plant.planner()
        planner.plan_once()
        plant.work_off()
        plant.log.grow(20)
        plant.log.expire(17)

        planned = planner.plan_once()

        assert (planned.lost, planned.frames) == (13, 7)
        assert plant.ranges() == [(17, 21, 0), (21, 24, 0)]
        with reading(plant.stream.engine) as connection:
            (lost,) = list_absences(connection, kind=AbsenceKind.LOST)
        assert (lost.first_offset, lost.end_offset, lost.log_start) == (4, 17, 17)
        plant.work_off()
        assert plant.is_clean()
        assert planner.plan_once().lost == 0

    def test_what_was_removed_before_the_first_range_was_cut_is_lost_too(self, plant: Plant) -> None:
        plant.log.grow(4)
        planner = plant.planner(batch_wait_s=60, frames_per_batch=10)
        planner.plan_once()
        plant.log.expire(3)

        assert planner.plan_once().lost == 3

    def test_a_loss_is_noted_though_there_is_no_room(self, plant: Plant) -> None:
        plant.log.grow(40)
        planner = plant.planner(most_planned_batches=1)
        planner.plan_once()
        plant.log.expire(30)

        assert (planner.plan_once().lost, planner.plan_once().lost) == (26, 0)

    def test_planners_that_race_plan_and_lose_every_offset_once(self, plant: Plant) -> None:
        for partition in range(3):
            plant.log.grow(8, partition=partition)
        plant.planner().plan_once()
        for partition in range(3):
            plant.log.grow(40, partition=partition)
            plant.log.expire(20, partition=partition)
        results: list[Planned] = []

        def plan_on() -> None:
            planner = Planner(plant.stream.engine, {plant.stream.log_id: plant.log}, BOUNDS)
            results.extend(planner.plan_once() for _ in range(3))

        in_threads(4, plan_on)

        assert sum(each.lost for each in results) == 3 * 12
        assert sum(each.frames for each in results) == 3 * 28
        plant.work_off()
        assert plant.is_clean()
        with reading(plant.stream.engine) as connection:
            places = {(plant.stream.log_id, partition): 48 for partition in range(3)}
            assert cursors(connection, run_id=LIVE_RUN) == places

    def test_planners_that_begin_together_begin_once(self, plant: Plant) -> None:
        for partition in range(3):
            plant.log.grow(30, partition=partition)

        def plan_on() -> None:
            planner = Planner(plant.stream.engine, {plant.stream.log_id: plant.log}, BOUNDS)
            for _ in range(3):
                planned = planner.plan_once()
                assert not planned.troubles

        in_threads(4, plan_on)

        plant.work_off()
        assert plant.is_clean()
        with reading(plant.stream.engine) as connection:
            assert sum(each.verdict for each in audit(connection)) == 90

    def test_who_comes_second_to_a_new_log_does_not_judge_it_by_an_older_end(self, plant: Plant) -> None:
        """Another planner begins and plans the log between our look at its end and our own beginning."""
        late = FakeLog()
        late.grow(4)
        plant.log.grow(10)
        first, second = plant.planner(), plant.planner(logs={plant.stream.log_id: late})
        look, looks = late.end_offset, []

        def end_offset(partition: int) -> int:
            looks.append(first.plan_once())
            return look(partition)

        late.end_offset = end_offset  # type: ignore[method-assign]

        planned = second.plan_once()

        assert looks
        assert (planned.frames, planned.partitions, planned.troubles) == (0, (), {})


class TestOddLogs:
    def test_a_log_that_is_away_does_not_stop_the_others(self, plant: Plant) -> None:
        with transaction(plant.stream.engine) as connection:
            other_id = open_log(connection, kind=LogKind.KAFKA, name="frames.b", uuid="topic-2").id
        other = FakeLog(identity="fake-2")
        planner = plant.planner(logs={plant.stream.log_id: plant.log, other_id: other})
        plant.log.grow(4)
        other.grow(4)
        plant.log.is_away = True

        planned = planner.plan_once()
        assert (planned.frames, planned.troubles) == (4, {plant.stream.log_id: Trouble.UNAVAILABLE})
        plant.log.is_away = False
        assert planner.plan_once().frames == 4

    def test_an_end_that_falls_once_is_not_believed(self, plant: Plant) -> None:
        plant.log.grow(10)
        planner = plant.planner()
        planner.plan_once()
        plant.work_off()
        plant.log.grow(2)
        plant.log.partitions_of[0].ends = [0, 5, 9]

        planned = planner.plan_once()

        assert (planned.frames, planned.troubles) == (2, {})
        assert len(plant.time.slept) == 3

    def test_a_log_that_was_cut_back_is_planned_no_further_and_said_so_once(self, plant: Plant) -> None:
        cut: list[int] = []
        plant.log.grow(10)
        planner = plant.planner(on_cut_back=cut.append)
        planner.plan_once()
        plant.log.cut_back(7)

        planned = planner.plan_once()
        assert planned.troubles == {plant.stream.log_id: Trouble.CUT_BACK}
        plant.log.grow(20)
        assert planner.plan_once().frames == 0
        assert cut == [plant.stream.log_id]

    def test_the_next_epoch_of_a_log_that_was_cut_back_is_another_log(self, plant: Plant) -> None:
        plant.log.grow(10)

        def begin_anew(log_id: int) -> None:
            with transaction(plant.stream.engine) as connection:
                log = get_log(connection, log_id)
                assert log is not None
                planner.watch(next_epoch(connection, log).id, plant.log)

        planner = plant.planner(on_cut_back=begin_anew)
        planner.plan_once()
        plant.work_off()
        plant.log.cut_back(7)
        planner.plan_once()

        planned = planner.plan_once()

        assert (planned.frames, planned.lost) == (7, 0)
        plant.work_off()
        assert plant.is_clean()

    def test_a_log_cut_back_to_what_nobody_planned_goes_on(self, plant: Plant) -> None:
        plant.log.grow(40)
        planner = plant.planner(most_planned_batches=2)
        planner.plan_once()
        plant.log.cut_back(20)

        planned = planner.plan_once()

        assert planned.troubles == {}
        assert of(planned).backlog == 12

    def test_a_start_that_jumps_once_loses_nothing(self, plant: Plant) -> None:
        plant.log.grow(10)
        planner = plant.planner(most_planned_batches=1)
        planner.plan_once()
        plant.log.expire(9)
        planner._watches[plant.stream.log_id].sleep = lambda seconds: plant.log.expire(0)

        assert planner.plan_once().lost == 0

    def test_a_log_that_ends_before_it_starts_is_not_planned(self, plant: Plant) -> None:
        plant.log.grow(3)
        plant.log.expire(5)

        assert plant.planner().plan_once().troubles == {plant.stream.log_id: Trouble.ODD_OFFSETS}

    @pytest.mark.parametrize("left", [(), (0, 1)])
    def test_fewer_partitions_than_before_are_an_error_and_no_plan(
        self, plant: Plant, left: tuple[int, ...]
    ) -> None:
        planner = plant.planner()
        plant.log.grow(4)
        planner.plan_once()
        plant.log.grow(4)
        whole = plant.log.partitions_of
        plant.log.partitions_of = {number: whole[number] for number in left}

        expected = {plant.stream.log_id: Trouble.FEWER_PARTITIONS}
        assert planner.plan_once().troubles == expected
        assert plant.planner().plan_once().troubles == expected, "the ledger remembers it after a restart"
        plant.log.partitions_of = whole
        assert planner.plan_once().frames == 4

    def test_a_new_partition_is_planned_from_its_start(self, plant: Plant) -> None:
        planner = plant.planner()
        planner.plan_once()
        whole = FakeLog(partitions=4).partitions_of
        plant.log.partitions_of = {**whole, **plant.log.partitions_of}
        plant.log.grow(6, partition=3)

        planner.plan_once()

        assert plant.ranges(3) == [(0, 4, 0), (4, 6, 0)]

    def test_a_log_that_cannot_say_what_it_removes_is_planned_all_the_same(self, plant: Plant) -> None:
        plant.log.grow(4)

        def away(partition: int, within: timedelta) -> int:
            raise StageUnavailable("away")

        plant.log.expiring_before = away  # type: ignore[method-assign]

        assert plant.planner().plan_once().frames == 4


class TestStopping:
    """A partition whose frames are all dead letters waits for a person."""

    def stopped(self, plant: Plant, *, dead: int, over: int = 8) -> Planned:
        """The look after a range of four, ``dead`` of which were dead letters, averaged over ``over``."""
        plant.log.grow(8)
        plant.log.grow(4, partition=1)
        planner = plant.planner(stop_ratio=0.4, most_planned_batches=1)
        planner.plan_once()
        claim = plant.stream.must_claim()
        ends = FrameEnds(frames=4, dead_letters=dead, over=over)
        with transaction(plant.stream.engine) as connection:
            save_verdicts(connection, claim, plant.stream.verdicts(claim))
            partition_stats.learn(connection, claim, payload_bytes=4, offsets=4, line_priority=0, ends=ends)
            finish(connection, claim)
        return planner.plan_once()

    def test_only_that_partition_is_not_planned(self, plant: Plant) -> None:
        planned = self.stopped(plant, dead=4)

        assert [each.is_stopped for each in planned.partitions] == [True, False, False]
        assert of(planned).dead_share == 0.5
        assert (plant.ranges(), plant.ranges(1)) == ([], [(0, 4, 0)])

    @pytest.mark.parametrize(("dead", "over"), [(3, 8), (4, 12)])
    def test_as_many_as_the_ratio_allows_stop_nothing(self, plant: Plant, dead: int, over: int) -> None:
        planned = self.stopped(plant, dead=dead, over=over)

        assert not of(planned).is_stopped

    def test_it_goes_on_when_somebody_says_so(self, plant: Plant) -> None:
        self.stopped(plant, dead=4)
        with transaction(plant.stream.engine) as connection:
            assert forgive(connection, plant.stream.log_id) == 1

        planned = plant.planner(stop_ratio=0.4).plan_once()

        assert not of(planned).is_stopped
        assert plant.ranges() == [(4, 8, 0)]

    def test_what_its_log_removes_meanwhile_is_lost_all_the_same(self, plant: Plant) -> None:
        self.stopped(plant, dead=4)
        plant.log.expire(6)

        assert plant.planner(stop_ratio=0.4).plan_once().lost == 2


class TestLogsThatAreGone:
    """Of a topic that was made again, what was seen and never planned is LOST, and not merely nobody's."""

    def test_what_was_seen_and_not_planned_is_lost(self, plant: Plant) -> None:
        plant.log.grow(10)
        plant.log.grow(3, partition=1)
        planner = plant.planner(most_planned_batches=2)
        planner.plan_once()
        planner.watch_only({})

        lost = planner.give_up(plant.stream.log_id)

        with reading(plant.stream.engine) as connection:
            found = [
                (each.partition, each.first_offset, each.end_offset) for each in list_absences(connection)
            ]
            planned = cursors(connection, run_id=LIVE_RUN)
        assert lost == 13 - sum(end - first for each in (0, 1) for first, end, _ in plant.ranges(each))
        assert sum(end - first for _, first, end in found) == lost > 0
        assert planned[plant.stream.log_id, 0] == 10
        assert plant.is_clean()
        with transaction(plant.stream.engine) as connection:
            told = outbox.unpublished(connection, "")
        assert {each.kind for each in told} == {"lost"}
        assert sum(int(str(each.body["frames"])) for each in told) == lost

    def test_a_second_time_and_by_another_planner_nothing_more_is_lost(self, plant: Plant) -> None:
        plant.log.grow(10)
        planners = [plant.planner(most_planned_batches=1) for _ in range(2)]
        for planner in planners:
            planner.plan_once()

        lost = [planner.give_up(plant.stream.log_id) for planner in [*planners, planners[0]]]

        assert lost == [6, 0, 0]

    def test_a_log_that_was_away_for_a_moment_is_planned_by_what_is_known_of_it(self, plant: Plant) -> None:
        plant.log.grow(10)
        planner = plant.planner(batch_wait_s=5.0, frames_per_batch=100)
        planner.plan_once()
        plant.time.now += 3
        planner.watch_only({})
        plant.time.now += 3
        planner.watch_only({plant.stream.log_id: plant.log})

        assert planner.plan_once().frames == 10, "they have waited for six seconds"
