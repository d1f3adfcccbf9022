"""What is told of a frame keeps to the published schemas and carries what a reject gate needs."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from jsonschema import ValidationError

from pipelines.errors import RejectReason
from pipelines.frame import Envelope
from pipelines.regions import Region
from pipelines.triad.rationale import VERSION
from pipelines.verdict import Outcome
from storage.claims import Claim
from storage.dead_letters import DeadLetterRow
from storage.outbox import Message
from storage.schema import AbsenceKind, BatchKind
from storage.verdicts import VerdictRow
from tests.messages import require_valid
from workers.frame_log import Absence
from workers.kafka_sink import event_headers
from workers.message_schemas import message_schema, schema_id
from workers.messages import (
    MessageKind,
    amendment_message,
    dead_letter_message,
    lost_message,
    verdict_message,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=1)))
CLAIM = Claim(
    owner="worker",
    batch_id=17,
    run_id=0,
    log_id=2,
    partition=5,
    kind=BatchKind.INSPECT,
    first_offset=100,
    end_offset=110,
    offsets=(),
    fence=3,
    attempts=1,
    priority=0,
    planned_at=NOON,
    recipe_set_id=1,
    verdict_batch_id=16,
)
ROW = VerdictRow(
    offset=101,
    line="line-3",
    product="tile",
    event_source="/camera",
    event_id="4711",
    sha256="0" * 64,
    outcome=Outcome.PASS,
    score=0.1,
    p_value=0.5,
    regions=(),
    recipe="r",
)
DEAD = DeadLetterRow(offset=101, reason=RejectReason.TRUNCATED, detail="ends early", line="line-3")
ENVELOPE = Envelope(id="4711", source="/camera", line="line-3", part="p 7", expires_at=NOON)
ABSENCE = Absence(kind=AbsenceKind.LOST, first=103, end=107, position=110, log_start=107)


@pytest.mark.parametrize(
    ("expires_in_s", "is_late"), [(None, False), (1.0, False), (0.0, False), (-0.001, True)]
)
def test_a_verdict_says_whether_it_was_decided_in_time(expires_in_s: float | None, is_late: bool) -> None:
    expires_at = None if expires_in_s is None else (NOON + timedelta(seconds=expires_in_s)).astimezone(UTC)
    row = replace(ROW, expires_at=expires_at)

    line, kind, body = verdict_message(CLAIM, row, decided_at=NOON, awaits_rationale=True)

    require_valid(kind, body)
    assert (line, kind, body["id"], body["fence"]) == ("line-3", "verdict", "17-101", 3)
    assert (body["is_late"], body["is_partial"], body["awaits_rationale"]) == (is_late, True, True)
    assert body["expires_at"] == (expires_at and expires_at.isoformat())


def test_a_webs_verdict_names_each_defect_once_and_others_name_none() -> None:
    region = Region(left=1, top=-2, right=3, bottom=4, peak=0.5, p_value=0.01, area_px=4)
    regions = [
        replace(region, defect_id="2-5-100-s1"),
        replace(region, defect_id="2-5-100-s1"),
        replace(region, defect_id="2-5-100-s9", runs_on="2-5-101-s9"),
    ]
    _, kind, of_web = verdict_message(
        CLAIM, replace(ROW, regions=tuple(regions)), decided_at=NOON, awaits_rationale=False
    )
    _, _, other = verdict_message(
        CLAIM, replace(ROW, regions=(region,)), decided_at=NOON, awaits_rationale=False
    )

    require_valid(kind, of_web)
    assert (of_web["regions"], of_web["defects"]) == (
        3,
        [{"id": "2-5-100-s1", "runs_on": None}, {"id": "2-5-100-s9", "runs_on": "2-5-101-s9"}],
    )
    assert "defects" not in other


def test_an_amendment_is_of_the_verdict_that_it_amends() -> None:
    claim = replace(CLAIM, kind=BatchKind.REASON, offsets=(101,))
    line, kind, body = amendment_message(
        claim, 101, line="line-3", outcome=None, rationale=None, model_digest="d", note="no rationale: late"
    )
    require_valid(kind, body)
    assert (line, body["id"], body["is_partial"], body["outcome"]) == ("line-3", "16-101", False, None)


def test_a_rationale_is_held_to_its_own_schema() -> None:
    _, kind, body = amendment_message(
        CLAIM,
        101,
        line="line-3",
        outcome=Outcome.FAIL,
        rationale={"version": VERSION, "steps": [], "conclusion": {}},
        model_digest="d",
        note=None,
    )
    with pytest.raises(ValidationError):
        require_valid(kind, body)


@pytest.mark.parametrize("envelope", [None, ENVELOPE])
def test_a_dead_letter_names_its_part_where_it_can(envelope: Envelope | None) -> None:
    _, kind, body = dead_letter_message(CLAIM, DEAD, envelope)
    require_valid(kind, body)
    assert (body["id"], body["log"], body["partition"], body["offset"]) == ("17-101", 2, 5, 101)
    assert (body["part"], body["event"]) == ((None, None) if envelope is None else ("p 7", "4711"))
    assert body["expires_at"] == (None if envelope is None else NOON.isoformat())


def test_lost_frames_are_counted() -> None:
    line, kind, body = lost_message(CLAIM, ABSENCE)
    require_valid(kind, body)
    assert (line, body["id"], body["frames"]) == ("", "17-103", 4)


@pytest.mark.parametrize("kind", list(MessageKind))
def test_every_kind_has_a_schema_that_refuses_what_it_does_not_know(kind: MessageKind) -> None:
    schema = message_schema(kind)
    assert (schema["$id"], schema["$schema"]) == (
        schema_id(kind),
        "https://json-schema.org/draft/2020-12/schema",
    )
    with pytest.raises(ValidationError):
        require_valid(kind, {"id": "17-101"})


def message(line: str = "line-3", *, at: datetime = NOON) -> Message:
    return Message(id=4711, line=line, kind="verdict", body={"id": "17-101"}, created_at=at)


def test_an_event_names_itself_its_subject_and_its_schema() -> None:
    assert dict(event_headers(message())) == {
        "content-type": b"application/json",
        "ce_specversion": b"1.0",
        "ce_id": b"4711-1772362800000",
        "ce_source": b"/triadline/lines/line-3",
        "ce_type": b"org.triadline.verdict.decided.v1",
        "ce_time": b"2026-03-01T11:00:00+00:00",
        "ce_subject": b"17-101",
        "ce_dataschema": b"https://triadline.org/schemas/verdict-1.json",
        "ce_partitionkey": b"line-3",
    }


def test_the_same_number_in_a_restored_database_is_another_event() -> None:
    first, second = (dict(event_headers(message(at=NOON + timedelta(seconds=s)))) for s in (0, 1))
    assert first["ce_id"] != second["ce_id"]


def test_no_line_can_forge_a_header() -> None:
    headers = dict(event_headers(message("a\nb / ü")))
    assert headers["ce_source"] == b"/triadline/lines/a%0Ab%20%2F%20%C3%BC"
    assert headers["ce_partitionkey"].decode() == "a\N{REPLACEMENT CHARACTER}b / ü"
    assert "ce_partitionkey" not in dict(event_headers(message("")))
