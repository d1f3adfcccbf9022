"""The audit proves the contract, and finds what was put wrong on purpose."""

import pytest
from sqlalchemy import Engine, insert, text

from storage.audit import Span, audit
from storage.batches import LIVE_RUN, finish, plan
from storage.database import database_now, reading, transaction
from storage.dead_letters import save_dead_letters
from storage.logs import next_epoch, open_log, start_run
from storage.schema import LogKind, absence, dead_letter, plan_cursor, verdict
from storage.verdicts import save_verdicts
from tests.contract.stream import Stream, dead_letter_at


def forget(stream: Stream, condition: str, *, table: str = "verdict") -> None:
    """Lose rows as no code of ours can."""
    with transaction(stream.engine) as connection:
        connection.execute(text(f"DELETE FROM {table} WHERE {condition}"))


def add_dead_letter(stream: Stream, offset: int, *, batch_id: int) -> None:
    """Write a second end for an offset, past every check."""
    place = {"run_id": LIVE_RUN, "log_id": stream.log_id, "partition": 0}
    with transaction(stream.engine) as connection:
        row = {"offset": offset, "batch_id": batch_id, "reason": "empty", "detail": "injected"}
        connection.execute(insert(dead_letter).values(**row, **place, created_at=database_now(connection)))


def add_absence(stream: Stream, first: int, end: int, *, batch_id: int, kind: str = "lost") -> None:
    place = {"run_id": LIVE_RUN, "log_id": stream.log_id, "partition": 0}
    with transaction(stream.engine) as connection:
        row = {"first_offset": first, "end_offset": end, "batch_id": batch_id, "kind": kind}
        connection.execute(insert(absence).values(**row, **place, created_at=database_now(connection)))


def test_nothing_planned_is_nothing_to_audit(stream: Stream) -> None:
    with reading(stream.engine) as connection:
        assert audit(connection) == ()


def test_work_in_flight_is_pending_and_no_hole(stream: Stream) -> None:
    stream.plan(12)
    stream.inspect(stream.must_claim())
    stream.must_claim()

    found = stream.audit()
    assert (found.verdict, found.pending, found.holes) == (4, 8, 0)
    assert found.is_clean


def test_a_stream_worked_off_is_clean(stream: Stream) -> None:
    stream.plan(40)
    stream.inspect_all()

    found = stream.audit()
    assert (found.first, found.end, found.verdict, found.pending) == (0, 40, 40, 0)
    assert found.is_clean
    assert found.hole_spans == found.double_spans == ()


@pytest.mark.parametrize(
    ("lost", "spans"),
    [
        ("= 0", [(0, 1)]),
        ("BETWEEN 3 AND 8", [(3, 9)]),
        ("IN (2, 5, 6)", [(2, 3), (5, 7)]),
        (">= 17", [(17, 20)]),
        (">= 0", [(0, 20)]),
    ],
)
def test_a_hole_is_found_where_it_is(stream: Stream, lost: str, spans: list[tuple[int, int]]) -> None:
    stream.plan(20)
    stream.inspect_all()
    forget(stream, f'"offset" {lost}')

    found = stream.audit()
    assert found.hole_spans == tuple(Span(first=first, end=end) for first, end in spans)
    assert found.holes == sum(end - first for first, end in spans)
    assert found.verdict == 20 - found.holes
    assert not found.is_clean


def test_a_planned_batch_that_vanished_is_a_hole(stream: Stream) -> None:
    stream.plan(12)
    stream.inspect(stream.must_claim())
    forget(stream, "first_offset = 4", table="batch")

    assert stream.audit().hole_spans == (Span(first=4, end=8),)


def test_doubles_are_found_and_counted_once_each(stream: Stream) -> None:
    stream.plan(20)
    batch_id = stream.inspect_all()[0].batch_id
    for offset in (0, 5, 6):
        add_dead_letter(stream, offset, batch_id=batch_id)
    add_absence(stream, 6, 8, batch_id=batch_id)  # 6 now has three ends

    found = stream.audit()
    assert found.double_spans == (Span(first=0, end=1), Span(first=5, end=8))
    assert (found.doubles, found.holes) == (4, 0)
    assert (found.verdict, found.dead_letter, found.lost) == (20, 3, 2)
    assert not found.is_clean


def test_a_verdict_of_a_batch_that_is_not_done_is_a_double(stream: Stream) -> None:
    stream.plan(4)
    claim = stream.must_claim()
    with transaction(stream.engine) as connection:
        save_verdicts(connection, claim, [stream.verdict(2)])

    assert stream.audit().double_spans == (Span(first=2, end=3),)


def test_two_verdicts_of_two_batches_count_as_one_offset(stream: Stream) -> None:
    stream.plan(8)
    first, second = stream.inspect_all()
    columns = ", ".join(f'"{column.name}"' for column in verdict.columns)
    with transaction(stream.engine) as connection:
        moved = columns.replace('"batch_id"', str(second.batch_id))
        copied = f'INSERT INTO verdict ({columns}) SELECT {moved} FROM verdict WHERE "offset" = 1'
        connection.execute(text(copied))

    found = stream.audit()
    assert (found.verdict, found.doubles) == (8, 1)
    assert first.batch_id != second.batch_id


def test_an_end_that_was_never_planned_is_a_stray(stream: Stream) -> None:
    stream.plan(8)
    batch_id = stream.inspect_all()[0].batch_id
    add_dead_letter(stream, 9, batch_id=batch_id)
    add_absence(stream, 6, 11, batch_id=batch_id, kind="gap")

    found = stream.audit()
    assert (found.strays, found.gap, found.doubles) == (4, 2, 2)
    assert not found.is_clean


def test_a_cursor_that_ran_ahead_leaves_a_hole(stream: Stream) -> None:
    stream.plan(8)
    stream.inspect_all()
    with transaction(stream.engine) as connection:
        connection.execute(plan_cursor.update().values(next_offset=11))

    assert stream.audit().hole_spans == (Span(first=8, end=11),)


def test_each_run_log_and_partition_is_audited_for_itself(stream: Stream) -> None:
    stream.plan(4)
    stream.inspect_all()
    with transaction(stream.engine) as connection:
        run_id = start_run(connection, name="replay")
        log = open_log(connection, kind=LogKind.KAFKA, name="frames.local", uuid="topic-1")
        again = next_epoch(connection, log)
        for log_id, partition in ((again.id, 0), (stream.log_id, 3)):
            plan(
                connection,
                run_id=LIVE_RUN,
                log_id=log_id,
                partition=partition,
                expected_next=0,
                end=4,
                frames_per_batch=4,
                recipe_set_id=stream.recipe_set_id,
            )
    stream.plan(4, run_id=run_id)
    claim = stream.must_claim()
    with transaction(stream.engine) as connection:
        save_dead_letters(connection, claim, [dead_letter_at(offset) for offset in range(4)])
        finish(connection, claim)

    with reading(stream.engine) as connection:
        found = audit(connection)
        of_one_log = audit(connection, log_id=again.id)
    assert [(each.log_id, each.partition) for each in found] == [
        (stream.log_id, 0),
        (stream.log_id, 3),
        (again.id, 0),
    ]
    assert [each.verdict for each in found] == [4, 0, 0]
    assert [each.dead_letter + each.pending for each in found] == [0, 4, 4]
    assert [each.log_id for each in of_one_log] == [again.id]
    assert stream.audit(run_id=run_id).pending == 4
    assert all(each.is_clean for each in found)


def test_the_audit_refuses_a_state_that_moves_under_it(postgres: Engine) -> None:
    with transaction(postgres) as connection, pytest.raises(ValueError, match="reading"):
        audit(connection)
