"""What a difference does to a layout, told by topology: which copper it cuts, joins, bites or leaves alone.

The six kinds are those of DeepPCB (Tang et al. 2019, arXiv 1902.06197). Only the change itself is put into
the template, so that edges that lie a pixel off elsewhere in the window decide nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.layout_distance import Laid
from pipelines.regions import Region

Mask = NDArray[np.bool_]  # (height, width)

WINDOW_PX = 12  # around the region: a trace has to be seen on both sides of a cut
# Smaller pieces of copper or ground are crumbs: by themselves, or beside what was taken away around them.
LEAST_PIECE_PX, LEAST_PIECE_SHARE = 12, 0.25


class ChangeKind(StrEnum):
    """What happened to the copper."""

    OPEN = "open"
    SHORT = "short"
    MOUSEBITE = "mousebite"
    SPUR = "spur"
    SPURIOUS_COPPER = "spurious copper"
    PIN_HOLE = "pin-hole"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutChange:
    """A kind, the pixels that changed, and in words how it was told."""

    kind: ChangeKind
    area_px: int
    told: str


def layout_change(template: Mask, seen: Mask, evidence: Mask) -> LayoutChange | None:
    """The kind of the change that evidence points at; None where template and frame agree there.

    ``template`` and ``seen`` say where copper is, on one grid: a window around one region. ``evidence`` marks
    the region's own pixels. What changed is followed as far as it is connected to them.
    """
    missing = _touched(template & ~seen, evidence)
    added = _touched(seen & ~template, evidence)
    if not missing.any() and not added.any():
        return None
    if np.count_nonzero(missing) >= np.count_nonzero(added):
        return _of_missing(template, missing)
    return _of_added(template, added)


def layout_changes(
    laid: Laid, anomaly: AnomalyMap, regions: Sequence[Region], *, extent_score: float, copper_is_dark: bool
) -> list[LayoutChange | None]:
    """What each region does to the layout; ``extent_score`` is that of the rule that found the regions."""
    template, seen = laid.template < 128, laid.seen < 128
    if not copper_is_dark:
        template, seen = ~template, ~seen
    evidence = anomaly.scores[: laid.seen.shape[0]] >= extent_score
    changes = []
    for region in regions:
        top, left = max(0, region.top - WINDOW_PX), max(0, region.left - WINDOW_PX)
        window = np.s_[top : region.bottom + WINDOW_PX, left : region.right + WINDOW_PX]
        inside = np.zeros_like(evidence[window])
        box = np.s_[region.top - top : region.bottom - top, region.left - left : region.right - left]
        inside[box] = evidence[window][box]
        changes.append(layout_change(template[window], seen[window], inside))
    return changes


def _of_missing(template: Mask, missing: Mask) -> LayoutChange:
    area = int(np.count_nonzero(missing))
    grounds = _pieces_touched(~template, missing)
    if not grounds:
        return LayoutChange(
            kind=ChangeKind.PIN_HOLE, area_px=area, told="copper is missing, with copper all around"
        )
    if grounds > 1:
        told = f"copper is missing from one gap to another ({grounds} gaps joined)"
        return LayoutChange(kind=ChangeKind.OPEN, area_px=area, told=told)
    parts = _parts_after(template, missing)
    if parts > 1:
        told = f"copper is missing and what is left falls into {parts} parts"
        return LayoutChange(kind=ChangeKind.OPEN, area_px=area, told=told)
    return LayoutChange(
        kind=ChangeKind.MOUSEBITE,
        area_px=area,
        told="copper is missing from one edge and still holds together",
    )


def _of_added(template: Mask, added: Mask) -> LayoutChange:
    area = int(np.count_nonzero(added))
    coppers = _pieces_touched(template, added)
    if not coppers:
        return LayoutChange(
            kind=ChangeKind.SPURIOUS_COPPER, area_px=area, told="copper is added, touching none"
        )
    if coppers > 1:
        told = f"copper is added from one conductor to another ({coppers} joined)"
        return LayoutChange(kind=ChangeKind.SHORT, area_px=area, told=told)
    parts = _parts_after(~template, added)
    if parts > 1:
        told = f"copper is added and closes a gap (into {parts} parts)"
        return LayoutChange(kind=ChangeKind.SHORT, area_px=area, told=told)
    return LayoutChange(
        kind=ChangeKind.SPUR, area_px=area, told="copper is added to one edge and reaches no other"
    )


def _touched(change: Mask, evidence: Mask) -> Mask:
    """The connected parts of a change that hold evidence."""
    _, labels = cv2.connectedComponents(change.astype(np.uint8), connectivity=8)
    return np.asarray(np.isin(labels, np.unique(labels[change & evidence])) & change, np.bool_)


def _pieces_touched(ground: Mask, change: Mask, least_px: float = LEAST_PIECE_PX) -> int:
    """How many pieces of the ground, crumbs aside, lie against a change."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(ground.astype(np.uint8), connectivity=4)
    near = cv2.dilate(change.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    touched = np.unique(labels[near & ground])
    return sum(1 for label in touched if stats[label, cv2.CC_STAT_AREA] >= least_px)


def _parts_after(ground: Mask, change: Mask) -> int:
    """Into how many parts, crumbs aside, the piece around a change falls without it."""
    _, labels = cv2.connectedComponents(ground.astype(np.uint8), connectivity=8)
    around = np.isin(labels, np.unique(labels[change])) & ground & ~change
    return _pieces_touched(around, change, max(LEAST_PIECE_PX, LEAST_PIECE_SHARE * np.count_nonzero(change)))
