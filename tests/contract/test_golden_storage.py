"""Golden parts and what came back of them, on both databases."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine, update
from sqlalchemy.exc import IntegrityError

from pipelines.golden import GoldenResult
from pipelines.verdict import Outcome
from storage.batches import Claim, finish
from storage.database import database_now, reading, transaction
from storage.golden_checks import (
    GoldenSend,
    begin_checks,
    checks_after,
    close_check,
    last_sent,
    latest_checks,
    newest_check_id,
    open_checks,
)
from storage.golden_parts import (
    GoldenPart,
    get_golden_score,
    golden_id,
    list_golden_parts,
    remove_golden_part,
    save_golden_part,
    save_golden_score,
)
from storage.logs import start_run
from storage.retention import drop_older_than
from storage.schema import golden_check
from storage.verdicts import (
    VerdictFilter,
    get_verdict,
    iterate_verdicts,
    outcome_counts,
    public_id,
    save_verdicts,
)
from tests.contract.stream import Stream, in_threads, rows_in

PART = GoldenPart(
    id=golden_id("line-1", "ab" * 32),
    line="line-1",
    product="tile",
    name="good.png",
    sha256="ab" * 32,
    picture_uri=f"picture:{'ab' * 32}.png",
    expected=Outcome.PASS,
    tolerance=0.1,
)


def keep(engine: Engine, *parts: GoldenPart) -> None:
    with transaction(engine) as connection:
        for part in parts:
            save_golden_part(connection, part)


def send(engine: Engine, *event_ids: str, part: GoldenPart = PART) -> None:
    with transaction(engine) as connection:
        sends = [GoldenSend(golden_part=part.id, event_source="/golden", event_id=each) for each in event_ids]
        begin_checks(connection, sends)


def decide(stream: Stream, claim: Claim, *, event_id: str, outcome: Outcome = Outcome.PASS) -> str:
    """A golden frame's verdict at the claim's first offset."""
    row = replace(
        stream.verdict(claim.first_offset, outcome, event_id=event_id),
        event_source="/golden",
        is_simulated=True,
        golden_part=PART.id,
    )
    with transaction(stream.engine) as connection:
        save_verdicts(connection, claim, [row, *stream.verdicts(claim)[1:]])
        finish(connection, claim)
    return public_id(claim.batch_id, claim.first_offset)


def test_a_golden_part_comes_back_is_replaced_and_goes(database: Engine) -> None:
    keep(database, PART, replace(PART, id="line-0/x", line="line-0", product="cup"))
    keep(database, replace(PART, expected=Outcome.FAIL))

    with transaction(database) as connection:
        assert [each.id for each in list_golden_parts(connection)] == ["line-0/x", PART.id]
        assert list_golden_parts(connection, product="tile") == (replace(PART, expected=Outcome.FAIL),)
        assert remove_golden_part(connection, PART.id)
        assert not remove_golden_part(connection, PART.id)
        assert list_golden_parts(connection, product="tile") == ()
    keep(database, PART)
    with reading(database) as connection:
        assert list_golden_parts(connection, product="tile") == (PART,)


def test_scores_are_by_recipe_and_the_first_may_be_kept(stream: Stream) -> None:
    keep(stream.engine, PART)
    with transaction(stream.engine) as connection:
        assert get_golden_score(connection, PART.id, stream.recipe) is None
        save_golden_score(connection, PART.id, stream.recipe, 0.5, replaces=False)
        save_golden_score(connection, PART.id, stream.recipe, 0.7, replaces=False)
        assert get_golden_score(connection, PART.id, stream.recipe) == 0.5
        save_golden_score(connection, PART.id, stream.recipe, 0.25)
        assert get_golden_score(connection, PART.id, stream.recipe) == 0.25
        assert get_golden_score(connection, PART.id, "another") is None


def test_a_frame_is_open_until_its_verdict_is_there_and_judged(stream: Stream) -> None:
    keep(stream.engine, PART)
    with reading(stream.engine) as connection:
        assert (last_sent(connection), newest_check_id(connection)) == (None, 0)
        assert open_checks(connection) == ()
    send(stream.engine, "1", "2")
    stream.plan(4)
    with reading(stream.engine) as connection:
        assert [each.answer for each in open_checks(connection)] == [None, None]
        assert last_sent(connection) is not None

    verdict_id = decide(stream, stream.must_claim(), event_id="2", outcome=Outcome.FAIL)

    with reading(stream.engine) as connection:
        first, second = open_checks(connection)
    assert first.answer is None
    assert second.answer is not None
    assert (second.answer.verdict_id, second.answer.outcome) == (verdict_id, Outcome.FAIL)
    assert (second.line, second.expected, second.tolerance) == ("line-1", Outcome.PASS, 0.1)
    with transaction(stream.engine) as connection:
        assert close_check(
            connection,
            second.id,
            GoldenResult.OUTCOME_MOVED,
            answer=second.answer,
            expected_score=0.2,
            allowed_move=0.1,
        )
        assert [each.id for each in open_checks(connection)] == [first.id]
        (check,) = checks_after(connection, first.id)
        assert (check.result, check.score, check.verdict_id) == ("outcome_moved", 0.25, verdict_id)
        assert latest_checks(connection) == (check,)


def test_a_replays_verdict_answers_nothing(stream: Stream) -> None:
    keep(stream.engine, PART)
    send(stream.engine, "1")
    with transaction(stream.engine) as connection:
        run_id = start_run(connection, name="replay")
    stream.plan(4, run_id=run_id)
    decide(stream, stream.must_claim(), event_id="1")

    with reading(stream.engine) as connection:
        (check,) = open_checks(connection)
    assert check.answer is None


def test_many_judges_write_one_judgement(stream: Stream) -> None:
    keep(stream.engine, PART)
    send(stream.engine, "1")
    won: list[bool] = []

    def judge() -> None:
        with transaction(stream.engine) as connection:
            closed = close_check(
                connection, 1, GoldenResult.MISSING, answer=None, expected_score=None, allowed_move=None
            )
        won.append(closed)

    in_threads(4, judge)

    assert sorted(won) == [False, False, False, True]


def test_one_event_is_one_golden_frame(database: Engine) -> None:
    keep(database, PART)
    send(database, "1")
    with pytest.raises(IntegrityError):
        send(database, "1")


def test_golden_parts_are_in_the_audit_and_in_no_figure_of_production(stream: Stream) -> None:
    keep(stream.engine, PART)
    stream.plan(4)
    golden = decide(stream, stream.must_claim(), event_id="1", outcome=Outcome.FAIL)

    assert stream.audit().verdict == 4
    with reading(stream.engine) as connection:
        found = get_verdict(connection, golden)
        assert found is not None
        assert (found.is_simulated, found.golden_part) == (True, PART.id)
        assert outcome_counts(connection, VerdictFilter()) == {"pass": 3, "fail": 0, "review": 0}
        assert outcome_counts(connection, VerdictFilter(is_golden=True))[Outcome.FAIL] == 1
        ids = {
            is_golden: [each.id for each in iterate_verdicts(connection, VerdictFilter(is_golden=is_golden))]
            for is_golden in (None, True, False)
        }
    assert (len(ids[None]), ids[True], len(ids[False])) == (4, [golden], 3)


def test_old_checks_go_and_their_parts_stay(stream: Stream) -> None:
    keep(stream.engine, PART)
    send(stream.engine, "1", "2", "3")
    with transaction(stream.engine) as connection:
        old = database_now(connection) - timedelta(days=9)
        connection.execute(update(golden_check).where(golden_check.c.id < 3).values(sent_at=old))
        close_check(connection, 1, GoldenResult.MISSING, answer=None, expected_score=None, allowed_move=None)
    dropped = []
    for _ in range(5):
        with transaction(stream.engine) as connection:
            dropped.append(drop_older_than(connection, timedelta(days=2)))

    assert sum(each.golden_checks for each in dropped) == 1, "one waits, and one is new"
    assert dropped[-1].is_all
    with reading(stream.engine) as connection:
        assert rows_in(connection, "golden_check") == 2
        assert rows_in(connection, "golden_part") == 1
