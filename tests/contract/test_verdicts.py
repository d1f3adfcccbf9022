"""Verdicts stand as written; amendments and reviews are rows beside them, and a view says what holds now."""

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import Engine, insert, text
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError

from pipelines.errors import InputRefused
from pipelines.verdict import Outcome
from storage.batches import Claim, finish
from storage.database import reading, transaction
from storage.reviews import list_reviews, save_review
from storage.schema import review
from storage.verdicts import (
    VerdictFilter,
    VerdictRow,
    get_verdict,
    iterate_verdicts,
    list_verdicts,
    outcome_counts,
    public_id,
    save_amendment,
    save_verdicts,
)
from tests.contract.stream import REGION, Stream

EVERYTHING = VerdictFilter(run_id=None)
_HAWAII = timezone(timedelta(hours=-10))


def save(stream: Stream, claim: Claim, rows: list[VerdictRow]) -> None:
    with transaction(stream.engine) as connection:
        save_verdicts(connection, claim, rows)


def amend(stream: Stream, claim: Claim, offset: int, outcome: Outcome | None, **rationale: str) -> None:
    with transaction(stream.engine) as connection:
        save_amendment(
            connection, claim, offset, outcome=outcome, rationale=rationale or None, model_digest="model"
        )


def decide(stream: Stream, claim: Claim, offset: int, outcome: Outcome, reviewer: str) -> None:
    with transaction(stream.engine) as connection:
        save_review(connection, public_id(claim.batch_id, offset), outcome=outcome, reviewer=reviewer)


@pytest.fixture
def claim(stream: Stream) -> Claim:
    """A claim on offsets 0 to 3."""
    stream.plan(4)
    return stream.must_claim()


def test_a_verdict_comes_back_as_it_was_written(stream: Stream, claim: Claim) -> None:
    captured = datetime(2026, 3, 1, 12, 30, 0, 123456, tzinfo=UTC)
    row = VerdictRow(
        offset=2,
        line="line-1",
        product="tile",
        event_source="camera-1",
        event_id="e",
        sha256="a" * 64,
        outcome=Outcome.FAIL,
        score=0.1 + 0.2,
        p_value=1e-9,
        regions=(REGION, REGION),
        recipe=stream.recipe,
        note="missing lines",
        part="p",
        lot="l",
        name="a/b.png",
        captured_at=captured,
        recorded_at=captured.astimezone(),
        reference_id="tile@1#0",
        picture_uri="picture:x",
        case={"views": [1, 2.5, None, "é"]},
    )
    save(stream, claim, [row])

    with reading(stream.engine) as connection:
        found = get_verdict(connection, public_id(claim.batch_id, 2))
    assert found is not None
    for name in ("line", "score", "p_value", "regions", "note", "part", "lot", "name", "case", "recipe"):
        assert getattr(found, name) == getattr(row, name), name
    assert found.captured_at == found.recorded_at == captured
    assert (found.outcome, found.fast_outcome, found.is_repeat) == (Outcome.FAIL, Outcome.FAIL, False)
    assert found.planned_at == claim.planned_at <= found.decided_at
    assert (found.rationale, found.amended_at, found.reviewer) == (None, None, None)


@pytest.mark.parametrize(
    "strange", ["", "-", "1", "1-", "-1-2", "1-2-3", "x-1", "1-99", "9" * 30 + "-1", "²-1"]
)
def test_an_id_that_names_nothing_finds_nothing(stream: Stream, claim: Claim, strange: str) -> None:
    save(stream, claim, [stream.verdict(0)])
    with reading(stream.engine) as connection:
        assert get_verdict(connection, strange) is None


def test_an_offset_has_one_verdict(stream: Stream, claim: Claim) -> None:
    with pytest.raises(IntegrityError):
        save(stream, claim, [stream.verdict(1), stream.verdict(1)])


def test_a_verdict_is_never_updated(stream: Stream, claim: Claim) -> None:
    save(stream, claim, [stream.verdict(1)])
    change = text("UPDATE verdict SET outcome = 'fail'")
    with pytest.raises(DBAPIError, match="never updated"), transaction(stream.engine) as connection:
        connection.execute(change)


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_refused(stream: Stream, claim: Claim, score: float) -> None:
    row = stream.verdict(0)
    broken = VerdictRow(**{name: getattr(row, name) for name in row.__slots__} | {"score": score})
    with pytest.raises(ValueError, match="offset 0 has score"):
        save(stream, claim, [broken])


def test_words_outside_the_closed_lists_are_refused(stream: Stream, claim: Claim) -> None:
    save(stream, claim, [stream.verdict(0)])
    row = {"planned_at": claim.planned_at, "batch_id": claim.batch_id, "offset": 0, "reviewer": "r"}
    unknown = insert(review).values(**row, outcome="ok", created_at=claim.planned_at)
    with pytest.raises(StatementError), transaction(stream.engine) as connection:
        connection.execute(unknown)
    with pytest.raises(IntegrityError), transaction(stream.engine) as connection:
        connection.execute(text("UPDATE batch SET state = 'finished'"))


def test_a_repeated_event_gets_its_own_verdict_and_a_flag(stream: Stream) -> None:
    stream.plan(8)
    first, second = stream.must_claim(), stream.must_claim()
    save(stream, first, [stream.verdict(0, event_id="a"), stream.verdict(1, event_id="b")])
    save(
        stream,
        second,
        [stream.verdict(offset, event_id=event) for offset, event in ((4, "b"), (5, "c"), (6, "c"))],
    )

    with reading(stream.engine) as connection:
        flags = {each.offset: each.is_repeat for each in iterate_verdicts(connection, EVERYTHING)}
    assert flags == {0: False, 1: False, 4: True, 5: False, 6: True}


def test_the_latest_amendment_with_an_outcome_holds(stream: Stream, claim: Claim) -> None:
    save(stream, claim, [stream.verdict(0, Outcome.REVIEW)])
    amend(stream, claim, 0, Outcome.FAIL, text="a scratch")
    amend(stream, claim, 0, Outcome.PASS, text="a reflection")
    amend(stream, claim, 0, None, text="only words")
    amend(stream, claim, 0, None)

    with reading(stream.engine) as connection:
        found = get_verdict(connection, public_id(claim.batch_id, 0))
    assert found is not None
    assert (found.outcome, found.fast_outcome) == (Outcome.PASS, Outcome.REVIEW)
    assert found.rationale == {"text": "only words"}
    assert found.model_digest == "model"


def test_a_persons_review_holds_over_any_amendment(stream: Stream, claim: Claim) -> None:
    save(stream, claim, [stream.verdict(0, Outcome.FAIL)])
    decide(stream, claim, 0, Outcome.PASS, "ada")
    decide(stream, claim, 0, Outcome.REVIEW, "bo")
    amend(stream, claim, 0, Outcome.FAIL)

    with reading(stream.engine) as connection:
        found = get_verdict(connection, public_id(claim.batch_id, 0))
    assert found is not None
    assert (found.outcome, found.reviewer) == (Outcome.REVIEW, "bo")
    with reading(stream.engine) as connection:
        assert [each.reviewer for each in list_reviews(connection, found.id)] == ["bo", "ada"]


def test_only_a_verdict_can_be_reviewed(stream: Stream, claim: Claim) -> None:
    for nothing in (public_id(claim.batch_id, 0), "x"):
        with transaction(stream.engine) as connection:
            with pytest.raises(InputRefused, match="there is none"):
                save_review(connection, nothing, outcome=Outcome.PASS, reviewer="ada")
            assert list_reviews(connection, nothing) == ()


def test_an_amendment_needs_a_verdict(stream: Stream, claim: Claim) -> None:
    with pytest.raises(IntegrityError):
        amend(stream, claim, 3, Outcome.PASS)


class TestPages:
    @pytest.fixture
    def many(self, stream: Stream) -> Stream:
        stream.plan(20)
        stream.inspect_all()
        return stream

    def test_pages_stay_apart_while_rows_are_added(self, many: Stream) -> None:
        seen: list[str] = []
        after, next_offset = None, 20
        while True:
            with reading(many.engine) as connection:
                page = list_verdicts(connection, VerdictFilter(), after=after, limit=6)
            seen += [each.id for each in page.items]
            if page.next is None:
                break
            after = page.next
            many.plan(next_offset + 4, first=next_offset)
            many.inspect_all()
            next_offset += 4

        assert len(seen) == len(set(seen)) == 20
        with reading(many.engine) as connection:
            oldest = [each.id for each in iterate_verdicts(connection, VerdictFilter())][:20]
        assert seen == oldest[::-1]

    def test_a_page_that_is_just_full_is_the_last(self, many: Stream) -> None:
        with reading(many.engine) as connection:
            assert list_verdicts(connection, VerdictFilter(), limit=20).next is None
            assert list_verdicts(connection, VerdictFilter(line="line-9")).items == ()

    @pytest.mark.parametrize("cursor", ["x", "", "MjAyNg", "é", "|"])
    def test_a_foreign_cursor_is_refused(self, many: Stream, cursor: str) -> None:
        with reading(many.engine) as connection, pytest.raises(InputRefused, match="cursor"):
            list_verdicts(connection, VerdictFilter(), after=cursor)

    def test_a_page_has_bounds(self, many: Stream) -> None:
        with reading(many.engine) as connection, pytest.raises(InputRefused, match="limit 1001"):
            list_verdicts(connection, VerdictFilter(), limit=1001)


class TestFilters:
    @pytest.fixture
    def mixed(self, stream: Stream, claim: Claim) -> Stream:
        outcomes = (Outcome.PASS, Outcome.FAIL, Outcome.REVIEW, Outcome.REVIEW)
        rows = [
            stream.verdict(offset, outcome, line=f"line-{offset}") for offset, outcome in enumerate(outcomes)
        ]
        with transaction(stream.engine) as connection:
            save_verdicts(connection, claim, rows)
            finish(connection, claim)
        amend(stream, claim, 3, Outcome.FAIL, text="a crack")
        return stream

    @pytest.mark.parametrize(
        ("wanted", "offsets"),
        [
            (VerdictFilter(), [0, 1, 2, 3]),
            (VerdictFilter(run_id=5), []),
            (VerdictFilter(line="line-1"), [1]),
            (VerdictFilter(outcomes=(Outcome.FAIL,)), [1, 3]),
            (VerdictFilter(outcomes=(Outcome.PASS, Outcome.REVIEW)), [0, 2]),
            (VerdictFilter(has_rationale=True), [3]),
            (VerdictFilter(has_rationale=False), [0, 1, 2]),
            (VerdictFilter(since=datetime(2020, 1, 1, tzinfo=UTC)), [0, 1, 2, 3]),
            (VerdictFilter(until=datetime(2020, 1, 1, tzinfo=UTC)), []),
            (VerdictFilter(captured_since=datetime(2020, 1, 1, tzinfo=UTC)), []),
        ],
    )
    def test_a_filter_keeps_what_it_says(
        self, mixed: Stream, wanted: VerdictFilter, offsets: list[int]
    ) -> None:
        with reading(mixed.engine) as connection:
            assert [each.offset for each in iterate_verdicts(connection, wanted)] == offsets
            assert sum(outcome_counts(connection, wanted).values()) == len(offsets)

    def test_counts_are_of_what_holds_now(self, mixed: Stream) -> None:
        with reading(mixed.engine) as connection:
            counts = outcome_counts(connection, VerdictFilter())
        assert counts == {Outcome.PASS: 1, Outcome.FAIL: 2, Outcome.REVIEW: 1}

    def test_times_are_compared_as_times(self, mixed: Stream) -> None:
        with reading(mixed.engine) as connection:
            (first, *_) = iterate_verdicts(connection, VerdictFilter())
            local = first.planned_at.astimezone(tz=_HAWAII)
            assert list(iterate_verdicts(connection, VerdictFilter(until=local))) == []
            assert len(list(iterate_verdicts(connection, VerdictFilter(since=local)))) == 4


def test_a_time_without_a_zone_is_refused(database: Engine) -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - that is the point
    with reading(database) as connection, pytest.raises(StatementError, match="no time zone"):
        list_verdicts(connection, VerdictFilter(since=naive))
