"""CoT-M: five kinds of steps in order, each tied to evidence; what is not is said to be unsupported."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pipelines.errors import AnswerRejected
from pipelines.learn import simulator
from pipelines.triad import findings as slots
from pipelines.triad.findings import Findings
from pipelines.triad.rationale import (
    CitationKind,
    Rationale,
    StepKind,
    prose,
    rationale_from_json,
    rationale_from_text,
    rationale_to_json,
)
from pipelines.triad.telling import tell
from tests.triad_models import case, nameless

SCRATCH = Findings(
    is_defective=True,
    defect_probability=0.97,
    view=0,
    shape="line",
    tone="brighter",
    defect="scratch",
    defect_confidence=0.8,
    step="stacking",
)
UNKNOWN = replace(SCRATCH, defect="unknown", step=None)
NORMAL = Findings(
    is_defective=False,
    defect_probability=0.1,
    view=None,
    shape=None,
    tone=None,
    defect="normal",
    defect_confidence=1.0,
    step=None,
)


def cited(rationale: Rationale, kind: StepKind) -> set[str]:
    return {cite.ref for step in rationale.steps if step.kind is kind for cite in step.cites}


def test_a_known_defect_is_traced_to_its_step_and_every_sentence_has_support() -> None:
    rationale = tell(case(), SCRATCH)
    assert rationale.unsupported == 0
    assert cited(rationale, StepKind.TRACE) == {"plate@3#step/stacking", "plate@3#defect/scratch"}
    assert cited(rationale, StepKind.COMPARE) == {"0.004", "plate-7", "plate@3#normal/description"}
    assert (rationale.conclusion.defect, rationale.conclusion.process_step) == ("scratch", "stacking")
    text = prose(rationale)
    assert "Region 1 at the top left measures 10 x 7 px" in text
    assert "view 1 shows a line, brighter than its surroundings" in text
    assert "Plates slid. It rusts." in text
    assert "unsupported" not in text


def test_a_normal_frame_names_no_defect_and_no_step() -> None:
    rationale = tell(case(), NORMAL)
    assert rationale.unsupported == 0
    assert rationale.conclusion.verdict == "normal"
    assert rationale.conclusion.process_step is None
    assert rationale.conclusion.confidence == 0.9


@pytest.mark.parametrize("findings", [UNKNOWN, NORMAL])
def test_without_knowledge_the_trace_is_unsupported_and_says_so(findings: Findings) -> None:
    rationale = tell(nameless(case()), findings)
    assert rationale.unsupported == 1
    assert "[unsupported]" in prose(rationale)
    assert not any(
        cite.kind is CitationKind.KNOWLEDGE for step in rationale.steps for cite in step.cites
    )  # fmt: skip


def test_knowledge_without_a_revision_is_not_cited() -> None:
    rationale = tell(replace(case(), knowledge_revision=None), UNKNOWN)
    assert not any(cite.kind is CitationKind.KNOWLEDGE for step in rationale.steps for cite in step.cites)


@pytest.mark.parametrize(
    "findings",
    [
        replace(SCRATCH, defect="rust"),
        replace(SCRATCH, step="painting"),
        replace(SCRATCH, defect="dent", step="rolling"),
        replace(SCRATCH, view=2),
    ],
    ids=["defect", "step", "step-of-another-defect", "view"],
)
def test_what_the_case_does_not_hold_is_rejected_not_guessed(findings: Findings) -> None:
    with pytest.raises(AnswerRejected):
        tell(case(), findings)


def test_a_frame_cannot_be_defective_and_normal_at_once() -> None:
    with pytest.raises(ValueError, match="cannot be defective"):
        replace(SCRATCH, defect="normal")


@pytest.mark.parametrize("findings", [SCRATCH, UNKNOWN, NORMAL])
@pytest.mark.parametrize("views", [0, 1, 4])
def test_what_is_told_can_be_stored_and_read_again(findings: Findings, views: int) -> None:
    rationale = tell(case(views=views), replace(findings, view=None if not views else findings.view))
    assert rationale_from_json(rationale_to_json(rationale)) == rationale


@pytest.mark.parametrize("p_value", [1.0, 0.5, 0.0123456, 1e-5, 1.5e-7, 0.0])
def test_any_p_value_makes_a_valid_citation(p_value: float) -> None:
    rationale = tell(replace(case(), p_value=p_value), NORMAL)
    assert rationale_from_json(rationale_to_json(rationale)) == rationale


def test_no_regions_and_no_views_still_make_a_whole_rationale() -> None:
    rationale = tell(replace(case(views=0), regions=()), replace(SCRATCH, view=None))
    assert [step.kind for step in rationale.steps] == list(StepKind)
    assert rationale.unsupported == 0


def swap(body: Any) -> None:
    body["steps"][0], body["steps"][1] = body["steps"][1], body["steps"][0]


BREAKS: dict[str, Callable[[Any], object]] = {
    "kind": lambda body: body["steps"][0].update(kind="guess"),
    "order": swap,
    "missing": lambda body: body["steps"].__setitem__(1, body["steps"][0]),
    "repeated": lambda body: body["steps"].insert(2, body["steps"][1]),
    "incoherent": lambda body: body["conclusion"].update(defect="normal"),
    "step of unknown": lambda body: body["conclusion"].update(defect="unknown"),
    "normal with a step": lambda body: body["conclusion"].update(verdict="normal", defect="normal"),
    "confidence": lambda body: body["conclusion"].update(confidence=1.2),
    "reference to nothing": lambda body: body["steps"][0]["cites"][0].update(ref="first"),
    "knowledge": lambda body: body["steps"][2]["cites"][0].update(ref="the internet"),
    "more": lambda body: body.update(mood="good"),
}


@pytest.mark.parametrize("change", BREAKS)
def test_a_body_that_breaks_the_form_is_rejected(change: str) -> None:
    body = copy.deepcopy(rationale_to_json(tell(case(), SCRATCH)))
    BREAKS[change](body)
    with pytest.raises(AnswerRejected, match="rationale"):
        rationale_from_json(body)


@pytest.mark.parametrize("text", ["", "Sure! Here is the JSON:", "[]", "{}", "null"])
def test_text_that_is_no_rationale_is_rejected(text: str) -> None:
    with pytest.raises(AnswerRejected):
        rationale_from_text(text)


def test_the_slots_use_the_simulators_words() -> None:
    assert slots.SHAPES == simulator.SHAPES
    assert slots.TONES == simulator.TONES
