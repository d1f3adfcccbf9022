"""The slots of an answer, in the order they are filled, and what is offered in each.

The order makes answers coherent: the verdict comes first and decides which slots there are; a defective
frame is never offered "normal", a normal one is asked nothing more; only steps that the chosen defect's
causes name are offered.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.knowledge import Defect, ProductKnowledge
from pipelines.triad.findings import SHAPES, TONES, UNKNOWN, Findings

DEFECTIVE, FAULTLESS = "A", "B"
NO_VIEW = " none"
VIEW_LEAD, SHAPE_LEAD, TONE_LEAD, DEFECT_LEAD, STEP_LEAD = " view", " shape", " tone", " defect", " step"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedProduct:
    """What a model learned to name for one product: defect and step ids of its knowledge."""

    defects: tuple[str, ...]
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A piece of a transcript; the model is taught only what it has to choose."""

    text: str
    is_choice: bool


def verdict_options() -> tuple[str, ...]:
    return DEFECTIVE, FAULTLESS


def view_options(views: int) -> tuple[str, ...]:
    """Nothing to choose without views; else each by its number, or none of them."""
    return (*(f" {number}" for number in range(1, views + 1)), NO_VIEW) if views else ()


def shape_options() -> tuple[str, ...]:
    return tuple(f" {shape}" for shape in SHAPES)


def tone_options() -> tuple[str, ...]:
    return tuple(f" {tone}" for tone in TONES)


def known_defects(knowledge: ProductKnowledge | None, trained: TrainedProduct | None) -> tuple[Defect, ...]:
    """Defects that the knowledge lists and the model has learned; others it would have to invent."""
    if knowledge is None or trained is None:
        return ()
    return tuple(defect for defect in knowledge.defects if defect.id in trained.defects)


def defect_options(defects: Sequence[Defect]) -> tuple[str, ...]:
    return (*(f" {defect.id}" for defect in defects), f" {UNKNOWN}")


def cause_steps(defect: Defect | None, trained: TrainedProduct | None) -> tuple[str, ...]:
    """The steps that can cause the defect and that the model knows, the likeliest first, each once."""
    if defect is None or trained is None:
        return ()
    return tuple(dict.fromkeys(cause.step for cause in defect.causes if cause.step in trained.steps))


def step_options(steps: Sequence[str]) -> tuple[str, ...]:
    return tuple(f" {step}" for step in steps)


def transcript(answer: Findings, views: int) -> list[Said]:
    """The answer as the model should give it, word for word as the slots would be filled."""
    if not answer.is_defective:
        return [Said(text=FAULTLESS, is_choice=True)]
    said = [Said(text=DEFECTIVE, is_choice=True)]
    slots: list[tuple[str, str | None]] = [(SHAPE_LEAD, answer.shape), (TONE_LEAD, answer.tone)]
    if views:
        slots.insert(0, (VIEW_LEAD, "none" if answer.view is None else str(answer.view + 1)))
    slots += [(DEFECT_LEAD, answer.defect), (STEP_LEAD, answer.step)]
    for lead, value in slots:
        if value is not None:
            said += [Said(text=lead, is_choice=False), Said(text=f" {value}", is_choice=True)]
    return said
