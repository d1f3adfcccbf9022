"""What Triad is told and asked: the process, the normal look, calibrated evidence, then the question.

An anomaly map is never painted over the picture: a raw overlay makes detection worse
(research/papers.md 5.4). Regions reach the model as places in words with their p-values.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from enum import StrEnum

from pipelines.knowledge import ProductKnowledge
from pipelines.reasoning import Case
from pipelines.regions import Region, View

PROMPT_VERSION = "triad-1"
KNOWLEDGE_LIMIT = 4096  # characters, as in Triad's evaluation code (research/papers.md 3.4)
MOST_REGIONS = 4
IMAGE = "<image>"

ROWS, COLUMNS = ("top", "", "bottom"), ("left", "", "right")
P_STEPS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


class PromptForm(StrEnum):
    """COMPACT is for the small model: ids in place of texts, since every token costs it time."""

    COMPACT = "compact"
    FULL = "full"


def prompt_version(form: PromptForm) -> str:
    """As a recipe names it."""
    return f"{PROMPT_VERSION}-{form.value}"


def prompt(case: Case, form: PromptForm, *, is_known: bool) -> str:
    """The user's turn and the head of the model's; ``<image>`` stands once for each picture.

    A product that the model was not trained on (``is_known`` false) is a nameless part in the compact
    form: words the small model has never seen would only disturb it.
    """
    knowledge = case.knowledge if is_known or form is PromptForm.FULL else None
    pictures = f"{IMAGE}\n" if case.reference is None else f"{IMAGE}\n{IMAGE}\n"
    told = _compact(knowledge) if form is PromptForm.COMPACT else _full(case, knowledge)
    name = plain(knowledge.name) if knowledge else "part"
    question = f"Are there any defects on the {name} in this picture? A. Yes B. No"
    if form is PromptForm.FULL:
        question += "\nAnswer with the option's letter from the given choices directly."
    lines = [*told, *_evidence(case), question]
    return f"<|im_start|>user\n{pictures}" + "\n".join(lines) + "<|im_end|>\n<|im_start|>assistant\n"


def place_words(left: int, top: int, right: int, bottom: int, *, width_px: int, height_px: int) -> str:
    """Where the middle of a box lies, on a grid of three by three; above the frame, on a web, is its top."""
    column = COLUMNS[min(2, (left + right) * 3 // (2 * width_px))]
    row = ROWS[min(2, max(0, (top + bottom) * 3 // (2 * height_px)))]
    return f"{row} {column}".strip() or "centre"


def region_of(view: View, regions: Sequence[Region]) -> int | None:
    """The index of the worst region whose middle lies in the view."""
    for index, region in enumerate(regions):
        x, y = (region.left + region.right) / 2, (region.top + region.bottom) / 2
        if view.left <= x < view.right and view.top <= y < view.bottom:
            return index
    return None


def p_words(p_value: float) -> str:
    """A p-value rounded up to one of few steps: finer ones would only be learned by heart."""
    return f"{P_STEPS[min(bisect_left(P_STEPS, p_value), len(P_STEPS) - 1)]:g}"


def plain(text: str) -> str:
    """Text of others without anything the tokenizer could read as a mark of ours."""
    return re.sub(r"\s+", " ", text.replace("<", "(").replace(">", ")").replace("|", "/")).strip()


def _compact(knowledge: ProductKnowledge | None) -> list[str]:
    if knowledge is None:
        return []
    return ["steps " + " ".join(plain(step.id) for step in knowledge.steps)]


def _full(case: Case, knowledge: ProductKnowledge | None) -> list[str]:
    lines = []
    if case.reference is not None:
        lines.append("The first picture is to be inspected; the second shows an acceptable part.")
    if knowledge is not None:
        steps = [f"{n}. {step.name}: {step.text}" for n, step in enumerate(knowledge.steps, start=1)]
        process = f"The following is the production process of the {knowledge.name}: " + " ".join(steps)
        told = plain(f"{process} A normal part looks like this: {knowledge.normal}")
        lines.append(told[:KNOWLEDGE_LIMIT])
    return lines


def _evidence(case: Case) -> list[str]:
    """The frame's p-value, then each view's place; a frame without views names its regions instead."""
    lines = [f"frame p {p_words(case.p_value)}"]
    size = {"width_px": case.width_px, "height_px": case.height_px}
    for number, view in enumerate(case.views[: len(case.query.views)], start=1):
        place = place_words(view.left, view.top, view.right, view.bottom, **size)
        index = region_of(view, case.regions)
        p_value = "none" if index is None else p_words(case.regions[index].p_value)
        lines.append(f"view {number} {place} p {p_value}")
    if not case.query.views:
        for region in case.regions[:MOST_REGIONS]:
            place = place_words(region.left, region.top, region.right, region.bottom, **size)
            lines.append(f"region {place} p {p_words(region.p_value)}")
    return lines
