"""How good a reasoner is on simulated lines that it never saw, given the evidence of a good localizer.

This measures the reasoner alone. What the whole line does with real localizer maps is measured by the
benchmarks.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipelines.learn.instruct import Instruction, instruct
from pipelines.learn.simulator import EVALUATION_SEED, SimulatedLine
from pipelines.reasoning import Answer, Case, Reasoner
from pipelines.triad.model import GRID, VIEW_PX

CASES_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One answer against the truth. What does not apply is None: a normal frame has no defect type."""

    product: str
    is_defective: bool
    says_defective: bool
    is_valid: bool
    is_supported: bool
    is_defect_right: bool | None = None
    is_step_right: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Shares, 0..1. Defect and step count over defective frames that were called defective."""

    product: str
    cases: int
    balanced_accuracy: float
    miss: float
    overkill: float
    defect: float
    step: float
    valid: float
    supported: float


def evaluation_cases(
    lines: Mapping[str, SimulatedLine], frames: int, *, first_seed: int = EVALUATION_SEED
) -> Iterator[Instruction]:
    """``frames`` normal and as many defective frames of each line, each defect as often as the others."""
    for product, line in lines.items():
        rng = np.random.default_rng((first_seed, len(product)))
        ids = [defect.id for defect in line.knowledge.defects]
        references = [line.frame(first_seed + place) for place in range(8)]
        for place in range(2 * frames):
            chosen = [] if place % 2 else [ids[place // 2 % len(ids)]]
            frame = line.frame(first_seed + 8 + place, defects=chosen)
            reference = references[int(rng.integers(len(references)))]
            yield instruct(frame, reference, rng, view_px=VIEW_PX, grid=GRID, knowledge=line.knowledge)


def without_views(case: Case) -> Case:
    """The same case with EG-RoI tokens switched off: the base views only."""
    reference = None if case.reference is None else replace(case.reference, views=())
    return replace(case, views=(), query=replace(case.query, views=()), reference=reference)


def judge(reasoner: Reasoner, instructions: Sequence[Instruction], *, shows_views: bool) -> list[Judged]:
    judged: list[Judged] = []
    for first in range(0, len(instructions), CASES_AT_ONCE):
        part = instructions[first : first + CASES_AT_ONCE]
        cases = [one.case if shows_views else without_views(one.case) for one in part]
        answers = reasoner.explain(cases)
        judged += [_judge(one, answer) for one, answer in zip(part, answers, strict=True)]
    return judged


def scores(judged: Sequence[Judged]) -> list[Scores]:
    """One row per product, then the mean over products."""
    products = list(dict.fromkeys(one.product for one in judged))
    rows = [_scores(product, [one for one in judged if one.product == product]) for product in products]
    names = ("balanced_accuracy", "miss", "overkill", "defect", "step", "valid", "supported")
    means = {name: float(np.mean([getattr(row, name) for row in rows])) for name in names}
    return [*rows, Scores(product="mean", cases=len(judged), **means)]


def table(rows: Sequence[Scores]) -> str:
    """Markdown, for the experiments' log."""
    lines = [
        "| product | cases | balanced accuracy | miss | overkill | defect type | step | valid | supported |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        shares = (
            row.balanced_accuracy,
            row.miss,
            row.overkill,
            row.defect,
            row.step,
            row.valid,
            row.supported,
        )
        lines.append(
            f"| {row.product} | {row.cases} | " + " | ".join(f"{share:.3f}" for share in shares) + " |"
        )
    return "\n".join(lines)


def _judge(instruction: Instruction, answer: Answer | Exception) -> Judged:
    truth = instruction.answer
    if isinstance(answer, Exception):
        wrong = not truth.is_defective
        return Judged(
            product=instruction.case.product,
            is_defective=truth.is_defective,
            says_defective=wrong,
            is_valid=False,
            is_supported=False,
        )
    is_found = truth.is_defective and answer.is_defective
    conclusion = answer.rationale.conclusion
    return Judged(
        product=instruction.case.product,
        is_defective=truth.is_defective,
        says_defective=answer.is_defective,
        is_valid=True,
        is_supported=answer.rationale.unsupported == 0,
        is_defect_right=conclusion.defect == truth.defect if is_found else None,
        is_step_right=conclusion.process_step == truth.step if is_found else None,
    )


def _scores(product: str, judged: Sequence[Judged]) -> Scores:
    bad = [one.says_defective for one in judged if one.is_defective]
    good = [one.says_defective for one in judged if not one.is_defective]
    miss, overkill = 1 - _share(bad), _share(good)
    return Scores(
        product=product,
        cases=len(judged),
        balanced_accuracy=1 - (miss + overkill) / 2,
        miss=miss,
        overkill=overkill,
        defect=_share([one.is_defect_right for one in judged if one.is_defect_right is not None]),
        step=_share([one.is_step_right for one in judged if one.is_step_right is not None]),
        valid=_share([one.is_valid for one in judged]),
        supported=_share([one.is_supported for one in judged]),
    )


def _share(answers: Sequence[bool]) -> float:
    return float(np.mean(answers)) if answers else 0.0
