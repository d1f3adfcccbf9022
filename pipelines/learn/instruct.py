"""InstructIAD, ours: instruction cases from simulated lines (Triad published none of its own).

A case holds what a reasoner is given, and the truth it should answer. A frame without defects asks the
same question with the same kind of evidence, so that neither views nor regions give the answer away.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.frame import Picture
from pipelines.knowledge import ProductKnowledge
from pipelines.learn.oracle_evidence import oracle_evidence, visible_mark
from pipelines.learn.simulator import Mark, SimulatedFrame
from pipelines.reasoning import Case, Shown
from pipelines.regions import View, ViewRule, base_view, crop_view
from pipelines.triad.findings import NORMAL, Findings

PATCH_SHARE = 0.02  # of a patch's area that a defect must cover to be the patch's label


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CropTruth:
    """What one crop shows. ``patches`` is int8 (grid, grid): 0 normal, else 1 + index into ``marks``."""

    mark: Mark | None  # the one with most pixels in it
    marks: tuple[Mark, ...]
    patches: NDArray[np.int8]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Instruction:
    """One case with its truth. ``truths`` holds the query's base view first, then its views in order."""

    case: Case
    answer: Findings
    truths: tuple[CropTruth, ...]


def instruct(
    frame: SimulatedFrame,
    reference: SimulatedFrame,
    rng: np.random.Generator,
    *,
    view_px: int,
    grid: int,
    knowledge: ProductKnowledge | None = None,
) -> Instruction:
    """A case about ``frame`` with oracle evidence. ``grid`` is the vision tower's patches per side."""
    evidence = oracle_evidence(frame, rng, ViewRule(view_px=view_px))
    height, width = frame.mask.shape
    whole = View(left=0, top=0, right=width, bottom=height, peak=0.0)
    case = Case(
        product=frame.product,
        height_px=height,
        width_px=width,
        p_value=evidence.p_value,
        regions=evidence.regions,
        views=evidence.views,
        query=_shown(frame, evidence.views, view_px),
        reference=_shown(reference, evidence.views, view_px),
        reference_id=f"{frame.product}-{reference.seed}",
        knowledge=knowledge,
        knowledge_revision=None if knowledge is None else 1,
    )
    truths = tuple(_truth(frame, view, grid) for view in (whole, *evidence.views))
    return Instruction(case=case, answer=_answer(frame, evidence.views), truths=truths)


def _answer(frame: SimulatedFrame, views: Sequence[View]) -> Findings:
    """The defect in the worst view that shows one; the largest on the frame if no view does."""
    shown = ((place, visible_mark(frame, view)) for place, view in enumerate(views))
    place, mark = next(((place, mark) for place, mark in shown if mark is not None), (None, None))
    if mark is None and frame.marks:
        mark = max(frame.marks, key=lambda one: (one.right - one.left) * (one.bottom - one.top))
    return Findings(
        is_defective=mark is not None,
        defect_probability=float(mark is not None),
        view=place,
        shape=mark.shape if mark else None,
        tone=mark.tone if mark else None,
        defect=mark.defect if mark else NORMAL,
        defect_confidence=1.0,
        step=mark.step if mark else None,
    )


def _shown(frame: SimulatedFrame, views: Sequence[View], view_px: int) -> Shown:
    picture = Picture(pixels=frame.pixels)
    crops = tuple(crop_view(picture, view, view_px) for view in views)
    return Shown(base=base_view(picture, view_px), views=crops)


def _truth(frame: SimulatedFrame, view: View, grid: int) -> CropTruth:
    """Patch labels by the share of the patch that each mark covers."""
    patches = np.zeros((grid, grid), np.int8)
    most = np.full((grid, grid), PATCH_SHARE, np.float32)
    for index, mark in enumerate(frame.marks):
        alone = np.zeros(frame.mask.shape, np.float32)
        box = np.s_[mark.top : mark.bottom, mark.left : mark.right]
        alone[box] = frame.mask[box]
        crop = alone[view.top : view.bottom, view.left : view.right]
        share = cv2.resize(crop, (grid, grid), interpolation=cv2.INTER_AREA)
        patches[share > most] = index + 1
        most = np.maximum(most, share)
    return CropTruth(mark=visible_mark(frame, view), marks=frame.marks, patches=patches)
