"""The reject gate that the documents show: it opens for a pass in time and for nothing else."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipelines.verdict import Outcome
from storage.outbox import Message
from tests.unit.test_messages import CLAIM, DEAD, ENVELOPE, ROW
from workers.kafka_sink import event_headers
from workers.messages import Message as Body
from workers.messages import amendment_message, dead_letter_message, verdict_message

DOCUMENT = Path(__file__).parents[2] / "docs" / "verdicts-topic.md"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SOON = NOW + timedelta(seconds=1)


@pytest.fixture
def gate() -> Any:
    (code,) = re.findall(
        r"^```python\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    shown: dict[str, Any] = {}
    exec(code, shown)
    return shown["Gate"]()


def hear(gate: Any, told: Body, *, number: int = 1, now: datetime = NOW) -> None:
    line, kind, body = told
    message = Message(id=number, line=line, kind=kind, body=body, created_at=NOW)
    headers = {name: text.decode() for name, text in event_headers(message)}
    gate.hear(headers, orjson.dumps(body), now)


def verdict(
    outcome: Outcome = Outcome.PASS,
    *,
    expires_at: datetime | None = SOON,
    decided_at: datetime = NOW,
    run_id: int = 0,
) -> Body:
    return verdict_message(
        replace(CLAIM, run_id=run_id),
        replace(ROW, outcome=outcome, expires_at=expires_at),
        decided_at=decided_at,
        awaits_rationale=True,
    )


def is_open(gate: Any) -> bool:
    return bool(gate.is_open(ROW.event_source, ROW.event_id))


def test_a_pass_in_time_opens_it(gate: Any) -> None:
    assert not is_open(gate), "silence is never a pass"
    hear(gate, verdict())
    assert is_open(gate)
    hear(gate, verdict())
    assert is_open(gate)


def test_without_a_deadline_any_time_is_in_time(gate: Any) -> None:
    hear(gate, verdict(expires_at=None))
    assert is_open(gate)


@pytest.mark.parametrize(
    ("told", "now"),
    [
        (verdict(Outcome.FAIL), NOW),
        (verdict(Outcome.REVIEW), NOW),
        (verdict(decided_at=SOON + timedelta(seconds=1)), NOW),
        (verdict(), SOON + timedelta(seconds=1)),
        (verdict(run_id=4), NOW),
        (dead_letter_message(CLAIM, DEAD, ENVELOPE), NOW),
    ],
    ids=["fail", "review", "decided late", "arrived late", "replay", "dead letter"],
)
def test_nothing_else_opens_it(gate: Any, told: Body, now: datetime) -> None:
    hear(gate, told, now=now)
    assert not is_open(gate)


def test_an_amendment_moves_no_gate(gate: Any) -> None:
    passed = amendment_message(
        CLAIM, ROW.offset, line="line-3", outcome=Outcome.PASS, rationale=None, model_digest="d", note=None
    )
    hear(gate, verdict(Outcome.REVIEW))
    hear(gate, passed, number=2)
    assert not is_open(gate)


@pytest.mark.parametrize("outcomes", [(Outcome.PASS, Outcome.FAIL), (Outcome.FAIL, Outcome.PASS)])
def test_of_two_verdicts_on_one_event_the_worse_holds(gate: Any, outcomes: tuple[Outcome, ...]) -> None:
    for number, outcome in enumerate(outcomes):
        hear(gate, verdict(outcome), number=number)
    assert not is_open(gate)
