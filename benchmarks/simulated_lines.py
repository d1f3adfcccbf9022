"""The final verdict on simulated frames never used in training: Triad, Triad without RoI tokens, no LMM.

    python benchmarks/simulated_lines.py [--frames 60] [--json OUT]

Prints one table; ratios and accuracies come from one run on one machine, seeds from EVALUATION_SEED on.
Balanced accuracy counts a review as a reject. Defect type and process step are judged on defective frames
that got a rationale; of a frame with several marks any of their types counts.
"""

import argparse
import hashlib
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipelines.echo.decision_maker import amended_outcome
from pipelines.frame import Envelope, Frame, Picture
from pipelines.inspection import Inspection, Inspector, shown_to_reasoner
from pipelines.learn.expert_choice import Asked
from pipelines.learn.fit import FittedProduct, bare_recipe, fit_product
from pipelines.learn.simulator import (
    EVALUATION_SEED,
    SimulatedFrame,
    SimulatedLine,
    mixed_run,
    simulated_lines,
)
from pipelines.localize.encoder import Encoder, load_encoder
from pipelines.localize.expert_kind import Networks
from pipelines.profiles import TINY
from pipelines.reasoning import Answer, Case
from pipelines.recipe import AmendPolicy
from pipelines.triad.reasoner import TriadReasoner, load_triad
from pipelines.verdict import Outcome

NORMALS = 64  # per line: half to learn from, half to calibrate on
RATE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one system did on one line; shares in 0..1, None where there was nothing to judge."""

    line: str
    system: str
    balanced_accuracy: float
    overkill: float
    escape: float
    answer_accuracy: float | None
    defect_type: float | None
    process_step: float | None
    valid: float | None
    supported: float | None
    milliseconds_per_frame: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=60, help="frames per line, half of them defective")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    arguments = parser.parse_args()
    encoder, reasoner = load_encoder(), load_triad()
    rows = [
        row
        for line in simulated_lines().values()
        for row in compare(line, encoder=encoder, reasoner=reasoner, frames=arguments.frames)
    ]
    rows += [mean_of(rows, system) for system in dict.fromkeys(row.system for row in rows)]
    show(rows)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


def compare(line: SimulatedLine, *, encoder: Encoder, reasoner: TriadReasoner, frames: int) -> list[Row]:
    """The three systems on the same frames of one line."""
    normals = [
        Picture(pixels=line.frame(seed).pixels) for seed in range(EVALUATION_SEED, EVALUATION_SEED + NORMALS)
    ]
    fitted = fit_product(
        normals,
        networks=Networks(encoder=lambda: encoder, stem=lambda: reasoner.features),
        false_reject_rate=RATE,
        asked=Asked(is_known=True),
    )
    inspector = Inspector(recipe=bare_recipe(line.product, fitted), localizer=fitted.memory)
    truths = list(mixed_run(line, first_seed=EVALUATION_SEED + 1_000, frames=frames, defect_share=0.5))
    started = time.perf_counter()
    inspections = [inspector.inspect([as_frame(truth)])[0] for truth in truths]
    localized = (time.perf_counter() - started) / len(truths) * 1000
    outcomes = [inspection.verdict.outcome for inspection in inspections]
    rows = [score(line, "no LMM", truths, outcomes, [None] * len(truths), milliseconds=localized)]
    for system, shows_views in (("Triad", True), ("Triad, RoI tokens off", False)):
        started = time.perf_counter()
        cases = [
            case_of(inspection, line, fitted, normals, encoder, shows_views=shows_views)
            for inspection in inspections
        ]
        answers = [answer for case in cases for answer in reasoner.explain([case])]
        reasoned = (time.perf_counter() - started) / len(truths) * 1000
        final = [final_outcome(i, a) for i, a in zip(inspections, answers, strict=True)]
        rows.append(score(line, system, truths, final, answers, milliseconds=localized + reasoned))
    return rows


def as_frame(truth: SimulatedFrame) -> Frame:
    return Frame(
        envelope=Envelope(id=str(truth.seed), source="simulator", line=truth.product),
        picture=Picture(pixels=truth.pixels),
        product=truth.product,
        sha256=hashlib.sha256(truth.pixels.tobytes()).hexdigest(),
    )


def case_of(
    inspection: Inspection,
    line: SimulatedLine,
    fitted: FittedProduct,
    normals: Sequence[Picture],
    encoder: Encoder,
    *,
    shows_views: bool,
) -> Case:
    picture = inspection.frame.picture
    views = inspection.views if shows_views else ()
    nearest = int((fitted.embeddings @ encoder.embedding([picture])[0]).argmax())
    reference = normals[fitted.references[nearest]]
    return Case(
        product=line.product,
        height_px=picture.height_px,
        width_px=picture.width_px,
        p_value=inspection.verdict.p_value,
        regions=inspection.verdict.regions,
        views=views,
        query=shown_to_reasoner(picture, views, view_px=TINY.view_px),
        reference=shown_to_reasoner(reference, views, view_px=TINY.view_px),
        reference_id=f"{line.product}-{nearest}",
        knowledge=line.knowledge,
        knowledge_revision=1,
    )


def final_outcome(inspection: Inspection, answer: Answer | Exception) -> Outcome:
    if isinstance(answer, Exception):
        return Outcome.REVIEW
    amended = amended_outcome(is_grey=inspection.verdict.is_grey, answer=answer, policy=AmendPolicy.GREY_ZONE)
    return amended or inspection.verdict.outcome


def score(
    line: SimulatedLine,
    system: str,
    truths: Sequence[SimulatedFrame],
    outcomes: Sequence[Outcome],
    answers: Sequence[Answer | Exception | None],
    *,
    milliseconds: float,
) -> Row:
    bad = [bool(truth.marks) for truth in truths]
    rejected = [outcome is not Outcome.PASS for outcome in outcomes]
    overkill = share([r for r, b in zip(rejected, bad, strict=True) if not b])
    escape = share([not r for r, b in zip(rejected, bad, strict=True) if b])
    asked = [(t, a) for t, a in zip(truths, answers, strict=True) if a is not None]
    judged = [(t, a) for t, a in asked if isinstance(a, Answer)]
    # Types and steps are asked of the defective frames that the system rejected: those a person reads.
    found = [
        (t, a)
        for t, a, r in zip(truths, answers, rejected, strict=True)
        if isinstance(a, Answer) and t.marks and r
    ]
    said = [(t, a.rationale.conclusion) for t, a in found]
    return Row(
        line=line.product,
        system=system,
        balanced_accuracy=1 - (overkill + escape) / 2,
        overkill=overkill,
        escape=escape,
        answer_accuracy=share_or_none([a.is_defective == bool(t.marks) for t, a in judged]),
        defect_type=share_or_none([c.defect in {m.defect for m in t.marks} for t, c in said]),
        process_step=share_or_none([c.process_step in {m.step for m in t.marks} for t, c in said]),
        valid=share_or_none([isinstance(a, Answer) for _, a in asked]),
        supported=share_or_none([all(s.is_supported for s in a.rationale.steps) for _, a in judged]),
        milliseconds_per_frame=milliseconds,
    )


def share(values: Sequence[bool]) -> float:
    return sum(values) / len(values)


def share_or_none(values: Sequence[bool]) -> float | None:
    return share(values) if values else None


def mean_of(rows: Sequence[Row], system: str) -> Row:
    chosen = [row for row in rows if row.system == system]

    def mean(name: str) -> float | None:
        values = [getattr(row, name) for row in chosen]
        return None if None in values else statistics.fmean(values)

    numbers = {name: mean(name) for name in Row.__dataclass_fields__ if name not in ("line", "system")}
    return replace(chosen[0], line="mean", **numbers)  # type: ignore[arg-type]


def show(rows: Sequence[Row]) -> None:
    names = list(Row.__dataclass_fields__)
    table = Table(*[name.replace("_", " ") for name in names])
    for row in rows:
        cells = [getattr(row, name) for name in names]
        table.add_row(*[f"{c:.3f}" if isinstance(c, float) else "" if c is None else str(c) for c in cells])
    Console(width=200).print(table)


if __name__ == "__main__":
    main()
