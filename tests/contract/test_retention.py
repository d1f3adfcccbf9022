"""Old days go with all that belongs to them; nothing undone goes, and the audit stays clean throughout."""

from dataclasses import fields, replace
from datetime import date, datetime, timedelta

import pytest
from sqlalchemy import Engine, text, update

from pipelines.verdict import Outcome
from storage import outbox
from storage.absences import save_lost
from storage.batches import (
    LIVE_RUN,
    BatchKind,
    Claim,
    finish,
    plan,
    plan_reason,
    split_claim,
)
from storage.database import database_now, reading, transaction
from storage.dead_letters import save_dead_letters
from storage.logs import start_run
from storage.partitions import days, drop_day, ensure_partitions, midnight
from storage.retention import Dropped, drop_older_than
from storage.reviews import save_review
from storage.schema import batch
from storage.verdicts import public_id, save_amendment, save_verdicts
from tests.contract.stream import Stream, dead_letter_at, in_threads, make_stream, rows_in

TABLES = ("verdict", "amendment", "review", "dead_letter", "absence", "batch")


@pytest.fixture
def today(stream: Stream) -> date:
    with transaction(stream.engine) as connection:
        return database_now(connection).date()


def planned_days_ago(stream: Stream, ago: int) -> None:
    """Move the newest plan back in time, before any row of it exists."""
    with transaction(stream.engine) as connection:
        time = database_now(connection) - timedelta(days=ago)
        recent = database_now(connection) - timedelta(hours=1)
        connection.execute(update(batch).where(batch.c.planned_at > recent).values(planned_at=time))


def plan_old(stream: Stream, end: int, *, first: int, ago: int, by: int = 4) -> None:
    assert stream.plan(end, first=first, by=by) is not None
    planned_days_ago(stream, ago)


def inspect_with_everything(stream: Stream, claim: Claim) -> None:
    """A verdict with a rationale and a review, a dead letter, and a loss: four offsets."""
    first = claim.first_offset
    with transaction(stream.engine) as connection:
        save_verdicts(connection, claim, [stream.verdict(first), stream.verdict(first + 1)])
        save_dead_letters(connection, claim, [dead_letter_at(first + 2)])
        save_lost(connection, claim, first=first + 3, end=first + 4)
        plan_reason(connection, claim, [first])
        outbox.add(connection, [("line-1", "verdict", {})])
        finish(connection, claim)
    reason(stream)
    with transaction(stream.engine) as connection:
        save_review(connection, public_id(claim.batch_id, first), outcome=Outcome.FAIL, reviewer="ada")


def reason(stream: Stream) -> None:
    claim = stream.must_claim(kind=BatchKind.REASON)
    with transaction(stream.engine) as connection:
        for offset in claim.offsets:
            save_amendment(connection, claim, offset, outcome=None, rationale={}, model_digest="m")
        finish(connection, claim)


def drop(stream: Stream, days: int, *, at_once: int = 500) -> Dropped:
    """To the end, with an audit after each piece; what went altogether."""
    total = Dropped()
    for _ in range(100):
        with transaction(stream.engine) as connection:
            dropped = drop_older_than(connection, timedelta(days=days), at_once=at_once)
        assert stream.audit().is_clean, dropped
        counts = {
            each.name: getattr(total, each.name) + getattr(dropped, each.name) for each in fields(total)
        }
        total = replace(Dropped(**counts), is_all=dropped.is_all)
        if dropped.is_all:
            return total
    raise AssertionError("retention has no end")


def left(stream: Stream) -> dict[str, int]:
    with reading(stream.engine) as connection:
        return {table: rows_in(connection, table) for table in TABLES}


def make_day(engine: Engine, day: date) -> None:
    """The partition of a day in the past, as it would have been made ahead of time."""
    with transaction(engine) as connection:
        name, first, end = f"verdict_{day:%Y%m%d}", midnight(day), midnight(day + timedelta(days=1))
        connection.execute(
            text(f"CREATE TABLE {name} PARTITION OF verdict FOR VALUES FROM ('{first}') TO ('{end}')")
        )


class TestRetention:
    def test_old_days_go_with_all_that_belongs_to_them(self, stream: Stream) -> None:
        plan_old(stream, 4, first=0, ago=40)
        inspect_with_everything(stream, stream.must_claim())
        stream.plan(8, first=4)
        inspect_with_everything(stream, stream.must_claim())
        kept = left(stream)

        dropped = drop(stream, 30)

        assert dropped == Dropped(
            verdicts=2, amendments=1, reviews=1, dead_letters=1, absences=1, batches=2, is_all=True
        )
        assert left(stream) == {table: count // 2 for table, count in kept.items()}
        found = stream.audit()
        assert (found.first, found.end, found.verdict, found.dead_letter, found.lost) == (4, 8, 2, 1, 1)

    def test_nothing_young_goes(self, stream: Stream) -> None:
        plan_old(stream, 4, first=0, ago=29)
        stream.inspect_all()

        assert drop(stream, 30) == Dropped()
        assert stream.audit().first == 0

    def test_a_day_goes_as_a_whole_or_not_at_all(self, stream: Stream, today: date) -> None:
        plan_old(stream, 4, first=0, ago=3)
        stream.inspect_all()
        with reading(stream.engine) as connection:
            since_midnight = database_now(connection) - midnight(today)
        if since_midnight < timedelta(minutes=1):
            pytest.skip("the day has only just begun")

        with transaction(stream.engine) as connection:
            almost = timedelta(days=3) - timedelta(seconds=1)  # its day is not over by then
            assert drop_older_than(connection, almost) == Dropped()

    def test_what_is_not_done_stays_and_so_does_all_that_was_planned_after_it(self, stream: Stream) -> None:
        plan_old(stream, 4, first=0, ago=60)
        stream.inspect_all()
        plan_old(stream, 8, first=4, ago=50)
        undone = stream.must_claim()
        plan_old(stream, 12, first=8, ago=40)
        stream.inspect(stream.must_claim())

        assert drop(stream, 30).verdicts == 4
        assert stream.audit().first == 4
        stream.inspect(undone)
        assert drop(stream, 30).verdicts == 8
        assert stream.audit().first == 12

    def test_a_rationale_that_is_owed_keeps_its_verdicts(self, stream: Stream) -> None:
        plan_old(stream, 4, first=0, ago=60)
        claim = stream.must_claim()
        with transaction(stream.engine) as connection:
            save_verdicts(connection, claim, stream.verdicts(claim))
            plan_reason(connection, claim, [1])
            finish(connection, claim)

        assert drop(stream, 30) == Dropped()
        reason(stream)
        assert drop(stream, 30).verdicts == 4

    def test_splits_go_with_their_last_child(self, stream: Stream) -> None:
        plan_old(stream, 8, first=0, ago=60, by=8)
        for _ in range(2):
            claim = stream.must_claim()
            with transaction(stream.engine) as connection:
                split_claim(connection, claim)
        stream.inspect_all()

        dropped = drop(stream, 30, at_once=1)

        assert (dropped.verdicts, dropped.batches) == (8, 5)
        assert left(stream) == dict.fromkeys(TABLES, 0)
        found = stream.audit()
        assert (found.first, found.end) == (8, 8)

    def test_pieces_are_bounded_and_the_audit_is_clean_after_each(self, stream: Stream) -> None:
        plan_old(stream, 40, first=0, ago=60)
        while claim := stream.claim():
            inspect_with_everything(stream, claim)

        with transaction(stream.engine) as connection:
            piece = drop_older_than(connection, timedelta(days=30), at_once=3)

        assert (piece.verdicts, piece.batches, piece.is_all) == (6, 6, False)
        assert drop(stream, 30, at_once=3).verdicts == 14

    def test_each_run_goes_by_itself(self, stream: Stream) -> None:
        with transaction(stream.engine) as connection:
            run_id = start_run(connection, name="replay")
        plan_old(stream, 8, first=0, ago=60)
        stream.inspect_all()
        stream.plan(6, first=2, run_id=run_id)
        stream.inspect_all()

        assert drop(stream, 30).verdicts == 8
        replayed = stream.audit(run_id=run_id)
        assert (replayed.first, replayed.verdict, replayed.is_clean) == (2, 4, True)

    def test_published_messages_go_and_others_stay(self, stream: Stream) -> None:
        with transaction(stream.engine) as connection:
            outbox.add(connection, [("line-1", "verdict", {})] * 5)
            outbox.mark_published(connection, outbox.unpublished(connection, "line-1", limit=4))
            old = database_now(connection) - timedelta(days=60)
            connection.execute(
                text("UPDATE outbox SET published_at = :old, created_at = :old WHERE id <> 4 AND id <> 5"),
                {"old": old if connection.dialect.name == "postgresql" else f"{old:%Y-%m-%d %H:%M:%S.%f}"},
            )

            pieces = [drop_older_than(connection, timedelta(days=30), at_once=2) for _ in range(3)]

            assert [(piece.messages, piece.is_all) for piece in pieces] == [(2, False), (1, False), (0, True)]
            assert rows_in(connection, "outbox") == 2

    def test_two_at_once_do_it_once(self, stream: Stream) -> None:
        plan_old(stream, 40, first=0, ago=60)
        stream.inspect_all()
        gone: list[int] = []

        def work() -> None:
            gone.append(drop(stream, 30, at_once=2).verdicts)

        in_threads(2, work)

        assert sum(gone) == 40


class TestDays:
    """Only Postgres has partitions."""

    @pytest.fixture
    def stream(self, postgres: Engine) -> Stream:
        return make_stream(postgres)

    def test_days_are_made_ahead_of_time_and_once(self, stream: Stream, today: date) -> None:
        with transaction(stream.engine) as connection:
            made = ensure_partitions(connection, days_ahead=2)
        assert made == tuple(today + timedelta(days=ahead) for ahead in range(3))

        with transaction(stream.engine) as connection:
            assert ensure_partitions(connection, days_ahead=2) == ()
            assert days(connection) == set(made)

    def test_several_processes_may_make_them_at_once(self, stream: Stream) -> None:
        def work() -> None:
            with transaction(stream.engine) as connection:
                ensure_partitions(connection)

        in_threads(4, work)

        with transaction(stream.engine) as connection:
            assert ensure_partitions(connection) == ()
            assert len(days(connection)) == 4

    def test_verdicts_go_to_their_day_and_are_as_safe_there(self, stream: Stream, today: date) -> None:
        with transaction(stream.engine) as connection:
            ensure_partitions(connection)
        stream.plan(4)
        inspect_with_everything(stream, stream.must_claim())

        with reading(stream.engine) as connection:
            assert rows_in(connection, f"verdict_{today:%Y%m%d}") == 2
            assert rows_in(connection, "verdict_default") == 0
        with (
            pytest.raises(Exception, match="never updated"),
            transaction(stream.engine) as connection,
        ):
            connection.execute(text(f"UPDATE verdict_{today:%Y%m%d} SET note = 'changed'"))

    def test_a_day_that_lies_in_the_default_partition_already_is_left_out(
        self, stream: Stream, today: date
    ) -> None:
        stream.plan(4)
        stream.inspect_all()

        with transaction(stream.engine) as connection:
            made = ensure_partitions(connection, days_ahead=1)

        assert made == (today + timedelta(days=1),)
        assert stream.audit().verdict == 4

    def test_a_reader_who_takes_long_holds_up_nobody(self, stream: Stream) -> None:
        with stream.engine.connect() as reader:
            assert rows_in(reader, "verdict") == 0
            with transaction(stream.engine) as connection:
                assert ensure_partitions(connection, days_ahead=0) == ()
                assert connection.execute(text("SHOW lock_timeout")).scalar_one() == "0"
        with transaction(stream.engine) as connection:
            assert len(ensure_partitions(connection, days_ahead=0)) == 1

    def test_a_day_is_dropped_in_one_piece(self, stream: Stream, today: date) -> None:
        make_day(stream.engine, today - timedelta(days=40))
        plan_old(stream, 40, first=0, ago=40)
        while claim := stream.claim():
            inspect_with_everything(stream, claim)
        stream.plan(44, first=40)
        stream.inspect_all()

        with transaction(stream.engine) as connection:
            piece = drop_older_than(connection, timedelta(days=30), at_once=1)
            assert days(connection) == set()
        assert piece == Dropped(
            verdicts=20, amendments=10, reviews=10, dead_letters=10, absences=10, is_all=False
        )
        assert stream.audit().is_clean
        assert drop(stream, 30, at_once=3).batches == 20
        assert left(stream) == {**dict.fromkeys(TABLES, 0), "verdict": 4, "batch": 1}

    def test_a_day_with_undone_work_stays(self, stream: Stream, today: date) -> None:
        make_day(stream.engine, today - timedelta(days=40))
        plan_old(stream, 8, first=0, ago=40)
        undone = stream.must_claim()
        stream.inspect(stream.must_claim())

        assert drop(stream, 30) == Dropped()
        stream.inspect(undone)
        assert drop(stream, 30).verdicts == 8

    def test_days_with_and_without_a_partition_follow_each_other(self, stream: Stream, today: date) -> None:
        for ago in (50, 48):
            make_day(stream.engine, today - timedelta(days=ago))
        for number, ago in enumerate((51, 50, 49, 48, 47, 5)):
            plan_old(stream, 4 * number + 4, first=4 * number, ago=ago)
            inspect_with_everything(stream, stream.must_claim())

        assert drop(stream, 30, at_once=1).verdicts == 10
        assert left(stream) == {**dict.fromkeys(TABLES, 1), "verdict": 2, "batch": 2}
        assert stream.audit().first == 20

    def test_days_over_which_the_clock_was_set_back_go_together(self, stream: Stream, today: date) -> None:
        make_day(stream.engine, today - timedelta(days=50))
        make_day(stream.engine, today - timedelta(days=49))
        plan_old(stream, 4, first=0, ago=49)
        plan_old(stream, 8, first=4, ago=50)
        stream.inspect_all()

        with transaction(stream.engine) as connection:
            assert drop_older_than(connection, timedelta(days=49)).is_all, "one alone would leave a hole"
        assert drop(stream, 30).verdicts == 8
        assert stream.audit().first == 8

    def test_a_day_cannot_go_while_a_review_refers_to_it(self, stream: Stream, today: date) -> None:
        make_day(stream.engine, today - timedelta(days=40))
        plan_old(stream, 4, first=0, ago=40)
        inspect_with_everything(stream, stream.must_claim())

        with pytest.raises(Exception, match="foreign key"), transaction(stream.engine) as connection:
            drop_day(connection, today - timedelta(days=40))
        assert stream.audit().verdict == 2


def test_no_batch_of_a_replay_stands_in_the_way(stream: Stream) -> None:
    """Two runs over the same offsets of one log."""
    with transaction(stream.engine) as connection:
        run_id = start_run(connection, name="replay")
        place = {"run_id": run_id, "log_id": stream.log_id, "partition": 0}
        plan(
            connection,
            **place,
            expected_next=0,
            end=4,
            frames_per_batch=4,
            recipe_set_id=stream.recipe_set_id,
        )
    planned_days_ago(stream, 60)
    plan_old(stream, 4, first=0, ago=60)
    stream.inspect(stream.must_claim())

    assert drop(stream, 30) == Dropped(), "the replay is not done, and of the same day"
    stream.inspect_all()
    assert drop(stream, 30).verdicts == 8
    assert stream.audit(run_id=LIVE_RUN).first == stream.audit(run_id=run_id).first == 4


def test_sqlite_has_no_days(sqlite: Engine) -> None:
    with transaction(sqlite) as connection:
        assert ensure_partitions(connection) == ()
        assert days(connection) == frozenset()


def test_times_are_moved_as_the_tests_mean(stream: Stream) -> None:
    plan_old(stream, 4, first=0, ago=40)

    with reading(stream.engine) as connection:
        now = database_now(connection)
    claim = stream.must_claim()
    assert isinstance(claim.planned_at, datetime)
    assert timedelta(days=39) < now - claim.planned_at < timedelta(days=41)
