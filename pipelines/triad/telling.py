"""From findings to a CoT-M rationale: what was measured and what the model chose, put into sentences.

Places and sizes come from the regions, names and causes from the knowledge; the model's part is which.
Every sentence cites what it rests on. Where there is nothing to rest on, it cites nothing.
"""

from pipelines.errors import AnswerRejected
from pipelines.knowledge import Cause, Defect, ProcessStep, ProductKnowledge
from pipelines.reasoning import Case
from pipelines.regions import Region, View
from pipelines.triad.findings import UNKNOWN, Findings
from pipelines.triad.prompts import MOST_REGIONS, place_words, region_of
from pipelines.triad.rationale import (
    Citation,
    CitationKind,
    Conclusion,
    Rationale,
    RationaleStep,
    StepKind,
    check_order,
    knowledge_ref,
)

FORMS = {"spot": "a spot", "line": "a line", "blob": "a blob", "patch": "a patch", "edge": "a broken edge"}
LOOKS = {
    "darker": "darker than its surroundings",
    "brighter": "brighter than its surroundings",
    "coloured": "of another colour than its surroundings",
    "mixed": "with brighter and darker parts",
}


def tell(case: Case, findings: Findings) -> Rationale:
    """The whole rationale.

    Raises:
        AnswerRejected: The findings name a defect, step or view that the case does not have.
    """
    _check(case, findings)
    steps = (
        *_perceived(case, findings),
        _compared(case, findings),
        _traced(case, findings),
        _explained(case, findings),
        _concluded(case, findings),
    )
    certainty = findings.defect_probability if findings.is_defective else 1 - findings.defect_probability
    conclusion = Conclusion(
        defect=findings.defect,
        process_step=findings.step,
        verdict="defective" if findings.is_defective else "normal",
        confidence=round(min(1.0, max(0.0, certainty)), 4),
    )
    rationale = Rationale(steps=steps, conclusion=conclusion)
    check_order(rationale)
    return rationale


def _check(case: Case, findings: Findings) -> None:
    if findings.view is not None and findings.view >= len(case.views):
        raise AnswerRejected(f"the answer points at view {findings.view}, but there are {len(case.views)}")
    if findings.is_defective and findings.defect != UNKNOWN and _defect(case, findings) is None:
        raise AnswerRejected(
            f"the answer names defect {findings.defect!r}, which the knowledge does not list"
        )
    if findings.step is not None and _cause(case, findings) is None:
        raise AnswerRejected(
            f"the answer names step {findings.step!r}, which does not cause {findings.defect!r}"
        )


def _perceived(case: Case, findings: Findings) -> list[RationaleStep]:
    """One step per region, worst first; then the view that shows the defect, if no region lies in it."""
    steps = [
        _seen_region(case, findings, index, region)
        for index, region in enumerate(case.regions[:MOST_REGIONS])
    ]
    view = findings.view
    if view is not None and region_of(case.views[view], case.regions[:MOST_REGIONS]) is None:
        place = _place(case, case.views[view])
        text = f"View {view + 1} at the {place} shows {_look(findings)}; no region was measured there."
        steps.append(_step(StepKind.PERCEIVE, text, _cite(CitationKind.VIEW, view)))
    if not steps:
        what = (
            f"The frame as a whole shows {_look(findings)}" if findings.is_defective else "Nothing stands out"
        )
        text = f"{what}; no region was measured (p = {_p(case)})."
        steps.append(_step(StepKind.PERCEIVE, text, _score(case)))
    return steps


def _seen_region(case: Case, findings: Findings, index: int, region: Region) -> RationaleStep:
    size = f"{region.right - region.left} x {region.bottom - region.top} px"
    text = f"Region {index + 1} at the {_place(case, region)} measures {size} (p = {region.p_value:.3g})"
    cites = [_cite(CitationKind.REGION, index)]
    view = findings.view
    if view is not None and region_of(case.views[view], case.regions) == index:
        text += f"; view {view + 1} shows {_look(findings)} there"
        cites.append(_cite(CitationKind.VIEW, view))
    elif findings.is_defective and view is None and index == 0:
        text += f"; the frame shows {_look(findings)}"
    return _step(StepKind.PERCEIVE, f"{text}.", *cites)


def _compared(case: Case, findings: Findings) -> RationaleStep:
    cites = [_score(case)]
    against = []
    if case.reference is not None and case.reference_id is not None:
        against.append(f"reference {case.reference_id}")
        cites.append(_cite(CitationKind.REFERENCE, case.reference_id))
    text = f"The frame's p-value among normal frames is {_p(case)}"
    knowledge = _citable(case)
    if knowledge is not None:
        against.append(f"the normal look ({knowledge.normal.rstrip('.')})")
        cites.append(_knows(case, "normal", "description"))
    if against:
        result = "it is outside tolerance" if findings.is_defective else "it is within tolerance"
        text = f"Compared with {' and '.join(against)}, {result}; {text[0].lower()}{text[1:]}"
    return _step(StepKind.COMPARE, f"{text}.", *cites)


def _traced(case: Case, findings: Findings) -> RationaleStep:
    if not findings.is_defective:
        knowledge = _citable(case)
        if knowledge is None:
            return _step(StepKind.TRACE, "Nothing is written down about how this product is made.")
        text = (
            f"The {len(knowledge.steps)} process steps give a part that looks like this; none is suspected."
        )
        return _step(StepKind.TRACE, text, _knows(case, "normal", "description"))
    step = _process_step(case, findings)
    if step is None:
        return _step(StepKind.TRACE, "No process step can be named for this.")
    text = f"{step.name} can produce this: {step.text}"
    return _step(StepKind.TRACE, text, _knows(case, "step", step.id), _knows(case, "defect", findings.defect))


def _explained(case: Case, findings: Findings) -> RationaleStep:
    if not findings.is_defective:
        return _step(StepKind.EXPLAIN, "There is nothing to explain: no defect was found.", _score(case))
    cause, defect = _cause(case, findings), _defect(case, findings)
    if cause is None or defect is None:
        text = "The cause is unknown: what was found is no defect that this model knows of this product."
        return _step(StepKind.EXPLAIN, text, _score(case))
    text = f"{cause.text} {cause.effect}"
    return _step(StepKind.EXPLAIN, text, _knows(case, "defect", defect.id), _knows(case, "step", cause.step))


def _concluded(case: Case, findings: Findings) -> RationaleStep:
    cites = [_score(case)]
    if findings.view is not None:
        cites.append(_cite(CitationKind.VIEW, findings.view))
    if not findings.is_defective:
        return _step(StepKind.CONCLUDE, "Normal.", *cites)
    defect, step = _defect(case, findings), _process_step(case, findings)
    name = "unknown defect" if defect is None else defect.name.lower()
    origin = f" from {step.name.lower()}" if step else ""
    text = f"Defective: {name}{origin}; the model gives a defect {findings.defect_probability:.0%}"
    if defect is not None:
        text += f" and, among what it knows, this name {findings.defect_confidence:.0%}"
    return _step(StepKind.CONCLUDE, f"{text}.", *cites)


def _look(findings: Findings) -> str:
    form, look = FORMS.get(findings.shape or ""), LOOKS.get(findings.tone or "")
    return f"{form or 'something'}{', ' + look if look else ''}"


def _citable(case: Case) -> ProductKnowledge | None:
    """Knowledge without a revision cannot be cited, so it counts as none."""
    return case.knowledge if case.knowledge_revision is not None else None


def _defect(case: Case, findings: Findings) -> Defect | None:
    knowledge = _citable(case)
    known = knowledge.defects if knowledge else ()
    return next((defect for defect in known if defect.id == findings.defect), None)


def _cause(case: Case, findings: Findings) -> Cause | None:
    defect = _defect(case, findings)
    return next((cause for cause in defect.causes if cause.step == findings.step), None) if defect else None


def _process_step(case: Case, findings: Findings) -> ProcessStep | None:
    knowledge = _citable(case)
    known = knowledge.steps if knowledge else ()
    return next((step for step in known if step.id == findings.step), None)


def _place(case: Case, box: Region | View) -> str:
    return place_words(
        box.left, box.top, box.right, box.bottom, width_px=case.width_px, height_px=case.height_px
    )


def _step(kind: StepKind, text: str, *cites: Citation) -> RationaleStep:
    return RationaleStep(kind=kind, text=text, cites=cites)


def _cite(kind: CitationKind, ref: int | str) -> Citation:
    return Citation(kind=kind, ref=str(ref))


def _knows(case: Case, kind: str, entry: str) -> Citation:
    assert case.knowledge_revision is not None
    ref = knowledge_ref(case.product, case.knowledge_revision, kind, entry)
    return Citation(kind=CitationKind.KNOWLEDGE, ref=ref)


def _score(case: Case) -> Citation:
    return Citation(kind=CitationKind.SCORE, ref=_p(case))


def _p(case: Case) -> str:
    return f"{case.p_value:.3g}"
