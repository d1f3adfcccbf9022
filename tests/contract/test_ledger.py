"""The ledger keeps one end per offset, whoever plans, claims, dies or comes back too late."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine, insert, text
from sqlalchemy.exc import DBAPIError

from pipelines.errors import RejectReason
from storage.absences import list_absences, save_gap, save_lost
from storage.batches import (
    LIVE_RUN,
    Backlog,
    BatchKind,
    Claim,
    StaleFence,
    Unaccounted,
    backlog,
    cursor,
    exhaust,
    expire_leases,
    finish,
    hand_back,
    leasing_owners,
    open_cursor,
    plan_reason,
    renew,
    split_claim,
    was_finished,
    watermark,
)
from storage.database import database_now, reading, transaction
from storage.dead_letters import save_dead_letters
from storage.expiry import Expired
from storage.logs import start_run
from storage.planning import new_batch
from storage.schema import AbsenceKind, batch
from storage.verdicts import save_amendment, save_verdicts
from tests.contract.stream import LEASE, Stream, dead_letter_at, in_threads, rows_in, run_out_of_lease


def expire(stream: Stream, *, limit: int = 3, gone: tuple[str, ...] = ()) -> Expired:
    with transaction(stream.engine) as connection:
        return expire_leases(connection, owners_gone=gone, attempt_limit=limit)


def low_water(stream: Stream) -> int:
    with reading(stream.engine) as connection:
        return watermark(connection, run_id=LIVE_RUN, log_id=stream.log_id, partition=0)


def ranges(stream: Stream) -> list[tuple[int, int]]:
    live = "SELECT first_offset, end_offset FROM batch WHERE state <> 'split' ORDER BY first_offset"
    with reading(stream.engine) as connection:
        return [(first, end) for first, end in connection.execute(text(live))]


class TestPlanning:
    def test_a_range_is_cut_into_batches_that_meet(self, stream: Stream) -> None:
        ids = stream.plan(10, by=4)

        assert ids is not None
        assert list(ids) == sorted(ids)
        assert ranges(stream) == [(0, 4), (4, 8), (8, 10)]

    def test_the_second_of_two_planners_changes_nothing(self, stream: Stream) -> None:
        assert stream.plan(10) is not None
        assert stream.plan(12) is None
        assert stream.plan(12, first=9) is None

        assert ranges(stream) == [(0, 4), (4, 8), (8, 10)]
        assert stream.plan(12, first=10) is not None

    def test_planners_that_race_plan_every_offset_once(self, stream: Stream) -> None:
        def plan_on() -> None:
            while (first := cursor_of(stream)) < 100:
                stream.plan(first + 5, first=first)

        in_threads(4, plan_on)

        assert ranges(stream) == [
            (first, end)
            for start in range(0, 100, 5)
            for first, end in ((start, start + 4), (start + 4, start + 5))
        ]

    def test_nothing_can_be_cut_from_an_empty_range(self, stream: Stream) -> None:
        with pytest.raises(ValueError, match=r"cannot cut \[3, 3\)"):
            stream.plan(3, first=3)
        with pytest.raises(ValueError, match="by 0"):
            stream.plan(3, by=0)

    def test_the_schema_refuses_an_overlap(self, stream: Stream) -> None:
        stream.plan(8)

        for first, end in ((0, 4), (3, 5), (7, 20), (2, 3)):
            with pytest.raises(DBAPIError, match="overlap"):
                add_directly(stream, first, end)
        add_directly(stream, 8, 20)

    def test_a_batch_cannot_be_moved_over_another(self, stream: Stream) -> None:
        stream.plan(8)

        with pytest.raises(DBAPIError, match="overlap"), transaction(stream.engine) as connection:
            connection.execute(text("UPDATE batch SET end_offset = 5 WHERE first_offset = 0"))

    def test_a_replay_never_meets_the_live_stream(self, stream: Stream) -> None:
        stream.plan(8)
        with transaction(stream.engine) as connection:
            run_id = start_run(connection, name="new thresholds")

        assert stream.plan(6, first=2, run_id=run_id) is not None
        claim = stream.must_claim()
        assert claim.run_id == LIVE_RUN, "the live stream goes first"

    def test_a_log_that_begins_late_is_planned_from_there(self, stream: Stream) -> None:
        with transaction(stream.engine) as connection:
            place = {"run_id": LIVE_RUN, "log_id": stream.log_id, "partition": 0}
            assert open_cursor(connection, **place, start=500) == 500
            assert open_cursor(connection, **place, start=700) == 500
        stream.plan(504, first=500)
        stream.inspect_all()

        found = stream.audit()
        assert (found.first, found.end, found.verdict, found.is_clean) == (500, 504, 4, True)

    def test_offsets_lost_before_they_were_planned_are_accounted_for_at_once(self, stream: Stream) -> None:
        stream.plan(4)
        stream.inspect_all()

        assert stream.plan_lost(9, first=4) is not None

        assert stream.claim() is None, "no worker is bothered"
        assert low_water(stream) == cursor_of(stream) == 9
        found = stream.audit()
        assert (found.verdict, found.lost, found.pending, found.is_clean) == (4, 5, 0, True)
        with reading(stream.engine) as connection:
            (lost,) = list_absences(connection, kind=AbsenceKind.LOST)
        assert (lost.first_offset, lost.end_offset, lost.position, lost.log_start) == (4, 9, 9, 9)

    def test_what_somebody_has_planned_is_not_lost(self, stream: Stream) -> None:
        stream.plan(4)

        assert stream.plan_lost(9) is None
        assert stream.audit().lost == 0
        with pytest.raises(ValueError, match="nothing is lost"):
            stream.plan_lost(4, first=4)

    def test_planners_that_race_lose_a_span_once(self, stream: Stream) -> None:
        stream.plan(1)

        def lose() -> None:
            stream.plan_lost(9, first=1)

        in_threads(4, lose)

        assert stream.audit().lost == 8
        assert stream.audit().is_clean


class TestClaiming:
    def test_higher_priorities_go_first_and_equal_ones_in_order(self, stream: Stream) -> None:
        stream.plan(2, by=1)
        stream.plan(4, first=2, by=1, priority=107)
        stream.plan(5, first=4, by=1, priority=7)

        claims = stream.inspect_all()

        assert [claim.first_offset for claim in claims] == [2, 3, 4, 0, 1]
        assert [claim.priority for claim in claims] == [107, 107, 7, 0, 0]

    def test_the_live_run_goes_before_a_replay_of_any_priority(self, stream: Stream) -> None:
        with transaction(stream.engine) as connection:
            run_id = start_run(connection, name="replay")
        stream.plan(1, run_id=run_id, priority=109)
        stream.plan(1)

        assert stream.must_claim().run_id == LIVE_RUN

    def test_halves_and_rationales_inherit_the_priority(self, stream: Stream) -> None:
        stream.plan(2, priority=5)
        claim = stream.must_claim()
        with transaction(stream.engine) as connection:
            split_claim(connection, claim)
        half = stream.must_claim()
        assert half.priority == 5
        with transaction(stream.engine) as connection:
            save_verdicts(connection, half, stream.verdicts(half))
            plan_reason(connection, half, [0])
            finish(connection, half)

        assert stream.must_claim(kind=BatchKind.REASON).priority == 5

    def test_a_claim_raises_the_fence_and_counts_the_attempt(self, stream: Stream) -> None:
        stream.plan(4)
        first = stream.must_claim()
        with transaction(stream.engine) as connection:
            hand_back(connection, first, keeps_attempt=False)
        second = stream.must_claim()

        assert (first.fence, first.attempts) == (1, 1)
        assert (second.fence, second.attempts) == (2, 2)
        assert (second.batch_id, second.verdict_batch_id) == (first.batch_id, first.batch_id)
        assert second.planned_at == first.planned_at
        assert second.planned_at.utcoffset() == timedelta(0)

    def test_the_oldest_batch_comes_first_and_none_at_the_end(self, stream: Stream) -> None:
        stream.plan(8)

        assert [stream.must_claim().first_offset, stream.must_claim().first_offset] == [0, 4]
        assert stream.claim() is None

    def test_workers_that_race_never_get_the_same_batch(self, stream: Stream) -> None:
        ids = stream.plan(120, by=2)
        claimed: list[int] = []

        def work() -> None:
            while claim := stream.claim():
                claimed.append(claim.batch_id)

        in_threads(4, work)

        assert ids is not None
        assert sorted(claimed) == sorted(ids)

    def test_an_outage_of_ours_uses_up_no_attempt(self, stream: Stream) -> None:
        stream.plan(1)
        for _ in range(5):
            claim = stream.must_claim()
            assert claim.attempts == 1
            with transaction(stream.engine) as connection:
                hand_back(connection, claim, keeps_attempt=True)

    def test_a_batch_handed_back_with_a_delay_waits(self, stream: Stream) -> None:
        stream.plan(4)
        claim = stream.must_claim()
        with transaction(stream.engine) as connection:
            hand_back(connection, claim, keeps_attempt=True, delay=timedelta(hours=1))

        assert stream.claim() is None
        with transaction(stream.engine) as connection:
            connection.execute(text("UPDATE batch SET not_before = planned_at"))
        assert stream.claim() is not None

    def test_a_renewed_lease_does_not_expire(self, stream: Stream) -> None:
        stream.plan(4)
        claim = stream.must_claim()
        run_out_of_lease(stream.engine, claim)
        with transaction(stream.engine) as connection:
            renew(connection, claim, LEASE)

        assert expire(stream) == Expired()


class TestFence:
    @pytest.fixture
    def stale(self, stream: Stream) -> Claim:
        """A claim that was taken away and given to another."""
        stream.plan(1)
        claim = stream.must_claim(owner="slow")
        expire(stream, gone=("slow",))
        stream.must_claim(owner="fast")
        return claim

    def test_a_zombie_writes_nothing(self, stream: Stream, stale: Claim) -> None:
        with pytest.raises(StaleFence, match="fence 1"):
            stream.inspect(stale)

        with reading(stream.engine) as connection:
            assert rows_in(connection, "verdict") == 0

    def test_a_zombie_whose_successor_is_done_writes_nothing_either(self, stream: Stream) -> None:
        stream.plan(1)
        zombie = stream.must_claim(owner="slow")
        expire(stream, gone=("slow",))
        stream.inspect_all()

        with transaction(stream.engine) as connection:
            with pytest.raises(StaleFence):
                save_verdicts(connection, zombie, stream.verdicts(zombie))
            with pytest.raises(StaleFence):
                save_dead_letters(connection, zombie, [dead_letter_at(0)])
            with pytest.raises(StaleFence):
                save_lost(connection, zombie, first=0, end=1)
        assert stream.audit().verdict == 1

    def test_a_zombie_neither_renews_nor_hands_back_nor_splits(self, stream: Stream, stale: Claim) -> None:
        with transaction(stream.engine) as connection:
            with pytest.raises(StaleFence):
                renew(connection, stale, LEASE)
            with pytest.raises(StaleFence):
                hand_back(connection, stale, keeps_attempt=True)
            with pytest.raises(StaleFence):
                split_claim(connection, stale)

    def test_a_batch_is_finished_once(self, stream: Stream) -> None:
        stream.plan(4)
        claim = stream.must_claim()
        with reading(stream.engine) as connection:
            assert not was_finished(connection, claim)
        stream.inspect(claim)

        with reading(stream.engine) as connection:
            assert was_finished(connection, claim)
        with pytest.raises(StaleFence), transaction(stream.engine) as connection:
            finish(connection, claim)


class TestFinishing:
    def test_an_offset_without_a_row_cannot_be_finished(self, stream: Stream) -> None:
        stream.plan(4)
        claim = stream.must_claim()

        with transaction(stream.engine) as connection:
            save_verdicts(connection, claim, [stream.verdict(0), stream.verdict(1), stream.verdict(3)])
        with pytest.raises(Unaccounted, match="offset 2 has no row"):
            finish_alone(stream, claim)
        assert low_water(stream) == 0

    def test_an_offset_with_two_rows_cannot_be_finished(self, stream: Stream) -> None:
        stream.plan(2)
        claim = stream.must_claim()

        with transaction(stream.engine) as connection:
            save_verdicts(connection, claim, stream.verdicts(claim))
            save_dead_letters(connection, claim, [dead_letter_at(1)])
        with pytest.raises(Unaccounted, match="offset 1 has two rows"):
            finish_alone(stream, claim)

    def test_the_four_states_make_a_batch(self, stream: Stream) -> None:
        stream.plan(8, by=8)
        claim = stream.must_claim()
        with transaction(stream.engine) as connection:
            save_verdicts(connection, claim, [stream.verdict(2), stream.verdict(5)])
            save_dead_letters(connection, claim, [dead_letter_at(4)])
            save_lost(connection, claim, first=0, end=2, log_start=2)
            save_gap(connection, claim, first=3, end=4, position=9, log_start=2)
            save_gap(connection, claim, first=6, end=8, position=9, log_start=2)
            finish(connection, claim)

        found = stream.audit()
        assert (found.verdict, found.dead_letter, found.gap, found.lost) == (2, 1, 3, 2)
        assert found.is_clean

    def test_a_gap_must_be_proved(self, stream: Stream) -> None:
        stream.plan(4)
        claim = stream.must_claim()
        with transaction(stream.engine) as connection:
            with pytest.raises(ValueError, match="no gap"):
                save_gap(connection, claim, first=0, end=4, position=3, log_start=0)
            with pytest.raises(ValueError, match="no gap"):
                save_gap(connection, claim, first=0, end=4, position=4, log_start=1)

    def test_rows_outside_the_claim_are_refused(self, stream: Stream) -> None:
        stream.plan(4)
        claim = stream.must_claim()
        with transaction(stream.engine) as connection:
            with pytest.raises(ValueError, match="outside"):
                save_verdicts(connection, claim, [stream.verdict(4)])
            with pytest.raises(ValueError, match="outside"):
                save_dead_letters(connection, claim, [dead_letter_at(-1)])
            with pytest.raises(ValueError, match="outside"):
                save_lost(connection, claim, first=3, end=5)

    def test_the_watermark_stops_at_the_oldest_undone_batch(self, stream: Stream) -> None:
        stream.plan(12)
        oldest, middle = stream.must_claim(), stream.must_claim()
        stream.inspect(middle)
        assert low_water(stream) == 0
        stream.inspect(oldest)
        assert low_water(stream) == 8
        stream.inspect_all()
        assert low_water(stream) == 12


class TestCrashes:
    def test_a_lease_that_still_runs_is_left_alone(self, stream: Stream) -> None:
        stream.plan(4)
        stream.must_claim()

        assert expire(stream) == Expired()

    def test_a_batch_that_comes_back_is_split_in_two(self, stream: Stream) -> None:
        stream.plan(5, by=5)
        claim = stream.must_claim()
        run_out_of_lease(stream.engine, claim)

        assert expire(stream).split == (claim.batch_id,)
        assert ranges(stream) == [(0, 2), (2, 5)]
        left = stream.must_claim()
        assert (left.first_offset, left.end_offset, left.attempts) == (0, 2, 1)
        assert left.planned_at == claim.planned_at, "the key of a verdict never changes"

    def test_the_leases_of_a_process_that_is_gone_end_at_once(self, stream: Stream) -> None:
        stream.plan(2, by=1)
        stream.must_claim(owner="gone")
        stream.must_claim(owner="alive")
        with reading(stream.engine) as connection:
            assert leasing_owners(connection) == {"gone", "alive"}

        assert len(expire(stream, gone=("gone",)).returned) == 1
        with reading(stream.engine) as connection:
            assert leasing_owners(connection) == {"alive"}

    def test_one_bad_frame_of_many_becomes_the_only_dead_letter(self, stream: Stream) -> None:
        stream.plan(16, by=16)
        killer = 11
        while not stream.audit().is_clean or stream.audit().pending:
            claim = stream.claim()
            if claim is not None and not claim.first_offset <= killer < claim.end_offset:
                stream.inspect(claim)
            expired = expire(stream, limit=3, gone=("worker",))
            for exhausted in expired.exhausted:
                assert (exhausted.first_offset, exhausted.attempts) == (killer, 3)
                give_up(stream, exhausted)

        found = stream.audit()
        assert (found.verdict, found.dead_letter) == (15, 1)
        assert low_water(stream) == 16

    def test_an_exhausted_frame_is_reported_until_it_is_given_up(self, stream: Stream) -> None:
        stream.plan(1)
        zombie = stream.must_claim()
        run_out_of_lease(stream.engine, zombie)
        (first,) = expire(stream, limit=1).exhausted
        (again,) = expire(stream, limit=1).exhausted

        assert zombie.fence < first.fence < again.fence
        with pytest.raises(StaleFence):
            stream.inspect(zombie)
        with pytest.raises(StaleFence):
            give_up(stream, first)
        give_up(stream, again)
        assert expire(stream, limit=1) == Expired()

    def test_a_frame_cannot_be_given_up_without_its_dead_letter(self, stream: Stream) -> None:
        stream.plan(1)
        run_out_of_lease(stream.engine, stream.must_claim())
        (exhausted,) = expire(stream, limit=1).exhausted

        with pytest.raises(Unaccounted), transaction(stream.engine) as connection:
            exhaust(connection, exhausted)

    def test_a_living_worker_may_split_what_it_cannot_hold(self, stream: Stream) -> None:
        stream.plan(2)
        claim = stream.must_claim()
        with transaction(stream.engine) as connection:
            split_claim(connection, claim)

        assert ranges(stream) == [(0, 1), (1, 2)]
        single = stream.must_claim()
        with transaction(stream.engine) as connection, pytest.raises(ValueError, match="single"):
            split_claim(connection, single)


class TestReasoning:
    @pytest.fixture
    def inspected(self, stream: Stream) -> Claim:
        stream.plan(8, by=8)
        claim = stream.must_claim()
        with transaction(stream.engine) as connection:
            save_verdicts(connection, claim, stream.verdicts(claim))
            plan_reason(connection, claim, [6, 1, 3])
            finish(connection, claim)
        return claim

    def test_a_reason_batch_names_its_verdicts(self, stream: Stream, inspected: Claim) -> None:
        assert stream.claim() is None, "inspectors leave it alone"
        claim = stream.must_claim(kind=BatchKind.REASON)

        assert claim.offsets == (1, 3, 6)
        assert (claim.planned_at, claim.verdict_batch_id) == (inspected.planned_at, inspected.batch_id)
        with transaction(stream.engine) as connection:
            for offset in claim.offsets:
                save_amendment(connection, claim, offset, outcome=None, rationale={}, model_digest="m")
            finish(connection, claim)

    def test_reasoning_holds_back_no_watermark_and_no_audit(self, stream: Stream, inspected: Claim) -> None:
        assert low_water(stream) == inspected.end_offset
        found = stream.audit()
        assert found.is_clean
        assert found.pending == 0

    def test_a_frame_that_kills_the_reasoner_is_found_too(self, stream: Stream, inspected: Claim) -> None:
        seen = []
        while claim := stream.claim(kind=BatchKind.REASON):
            seen.append(claim.offsets)
            assert claim.verdict_batch_id == inspected.batch_id
            for exhausted in expire(stream, limit=1, gone=("worker",)).exhausted:
                with transaction(stream.engine) as connection:
                    exhaust(connection, exhausted)

        assert seen == [(1, 3, 6), (1,), (3, 6), (3,), (6,)]

    def test_only_frames_of_the_claim_can_be_reasoned_about(self, stream: Stream) -> None:
        stream.plan(4)
        claim = stream.must_claim()
        with transaction(stream.engine) as connection:
            for offsets in ([], [0, 0], [4]):
                with pytest.raises(ValueError, match=f"batch {claim.batch_id}"):
                    plan_reason(connection, claim, offsets)


def test_the_backlog_counts_what_waits(stream: Stream) -> None:
    with reading(stream.engine) as connection:
        assert backlog(connection) == dict.fromkeys(BatchKind, Backlog())
    stream.plan(10)
    claim = stream.must_claim()

    with reading(stream.engine) as connection:
        waiting = backlog(connection)[BatchKind.INSPECT]
        assert backlog(connection, run_id=7)[BatchKind.INSPECT] == Backlog()
    assert (waiting.planned, waiting.leased, waiting.frames) == (2, 1, 10)
    assert waiting.oldest_planned_at == claim.planned_at
    assert 0 <= waiting.oldest_age_s < 60


def test_the_clock_moves_within_a_transaction(database: Engine) -> None:
    with transaction(database) as connection:
        first = database_now(connection)
        while (now := database_now(connection)) == first:
            pass
    assert now > first


def cursor_of(stream: Stream) -> int:
    with reading(stream.engine) as connection:
        return cursor(connection, run_id=LIVE_RUN, log_id=stream.log_id, partition=0)


def add_directly(stream: Stream, first: int, end: int) -> None:
    with transaction(stream.engine) as connection:
        row = new_batch(
            run_id=LIVE_RUN,
            log_id=stream.log_id,
            partition=0,
            recipe_set_id=stream.recipe_set_id,
            planned_at=database_now(connection),
        )
        connection.execute(insert(batch).values(**row, first_offset=first, end_offset=end))


def finish_alone(stream: Stream, claim: Claim) -> None:
    with transaction(stream.engine) as connection:
        finish(connection, claim)


def give_up(stream: Stream, claim: Claim) -> None:
    with transaction(stream.engine) as connection:
        letter = dead_letter_at(claim.first_offset, RejectReason.KILLS_INSPECTOR)
        save_dead_letters(connection, claim, [letter])
        exhaust(connection, claim)
