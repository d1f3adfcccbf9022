"""Evidence for a simulated frame without running a localizer: about what a good one would have found.

The views come out of Triad's own EG-RoI rule, fed with a drawn anomaly map, so that what the model is
trained on has the geometry of what it will be shown.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.learn.simulator import Mark, SimulatedFrame
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.regions import Region, View, ViewRule, eg_roi_views

MISSED_SHARE = 0.05  # defective frames whose worst spot on the map is no defect: a localizer errs too
MOST_FALSE_SPOTS = 3
FALSE_REGION_SHARE = 0.5  # false spots that were high enough to become a region
LEAST_VISIBLE_PX = 12  # fewer pixels of a defect in a crop, and nobody could name it


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a localizer hands to the reasoner: p-values small is worst, regions and views worst first."""

    p_value: float
    regions: tuple[Region, ...]
    views: tuple[View, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spot:
    """A half-open box where the drawn map is high."""

    left: int
    top: int
    right: int
    bottom: int
    is_defect: bool


def oracle_evidence(frame: SimulatedFrame, rng: np.random.Generator, rule: ViewRule) -> Evidence:
    """Spots on the frame's defects and on innocent places, ranked about as a good localizer ranks them."""
    spots = [_on_defect(frame, mark, rng) for mark in rng.permutation(np.array(frame.marks, dtype=object))]
    wanted = int(rng.choice(MOST_FALSE_SPOTS + 1, p=(0.55, 0.22, 0.13, 0.1)))
    false = [_on_normal(frame, rng) for _ in range(wanted if spots else max(1, wanted))]
    is_missed = bool(spots) and bool(false) and rng.random() < MISSED_SHARE / 0.45
    ranked = false + spots if is_missed else spots + false
    scores = np.full(frame.mask.shape, 0.1, np.float32)
    for rank, spot in reversed(list(enumerate(ranked))):
        centre = ((spot.left + spot.right) // 2, (spot.top + spot.bottom) // 2)
        axes = (max(1, (spot.right - spot.left) // 2), max(1, (spot.bottom - spot.top) // 2))
        cv2.ellipse(scores, centre, axes, 0, 0, 360, 1.0 - 0.01 * rank, -1)
    p_value = _p_value(bool(spots), rng)
    regions = tuple(
        _region(spot, 1.0 - 0.01 * rank, p_value, rng)
        for rank, spot in enumerate(ranked)
        if spot.is_defect or rng.random() < FALSE_REGION_SHARE
    )
    return Evidence(p_value=p_value, regions=regions, views=eg_roi_views(AnomalyMap(scores=scores), rule))


def visible_mark(frame: SimulatedFrame, view: View) -> Mark | None:
    """The mark with most pixels in the view, or None if too little of any is in it."""
    shown = [(_visible_px(frame, mark, view), mark) for mark in frame.marks]
    most = max(shown, key=lambda pair: pair[0], default=(0, None))
    return most[1] if most[0] >= LEAST_VISIBLE_PX else None


def mark_mask(frame: SimulatedFrame, mark: Mark) -> NDArray[np.bool_]:
    """The mark's pixels within its box, (bottom - top, right - left)."""
    return frame.mask[mark.top : mark.bottom, mark.left : mark.right]


def _visible_px(frame: SimulatedFrame, mark: Mark, view: View) -> int:
    left, right = max(mark.left, view.left), min(mark.right, view.right)
    top, bottom = max(mark.top, view.top), min(mark.bottom, view.bottom)
    return int(frame.mask[top:bottom, left:right].sum()) if left < right and top < bottom else 0


def _on_defect(frame: SimulatedFrame, mark: Mark, rng: np.random.Generator) -> _Spot:
    """Part of a defect, now and then all of it: maps are rarely even over a large defect."""
    if rng.random() < 0.3:
        box = (mark.left, mark.top, mark.right, mark.bottom)
    else:
        rows, columns = np.nonzero(mark_mask(frame, mark))
        at = int(rng.integers(len(rows)))
        reach = int(rng.integers(4, 40))
        x, y = mark.left + int(columns[at]), mark.top + int(rows[at])
        box = (
            max(mark.left, x - reach),
            max(mark.top, y - reach),
            min(mark.right, x + reach + 1),
            min(mark.bottom, y + reach + 1),
        )
    shift_x, shift_y = (int(step) for step in rng.integers(-10, 11, size=2))
    height, width = frame.mask.shape
    left, top = (int(np.clip(box[0] + shift_x, 0, width - 2)), int(np.clip(box[1] + shift_y, 0, height - 2)))
    right = int(np.clip(box[2] + shift_x, left + 2, width))
    bottom = int(np.clip(box[3] + shift_y, top + 2, height))
    return _Spot(left=left, top=top, right=right, bottom=bottom, is_defect=True)


def _on_normal(frame: SimulatedFrame, rng: np.random.Generator) -> _Spot:
    """Half the time where the surface is busiest (a localizer's usual mistake), else anywhere."""
    height, width = frame.mask.shape
    tries = [(int(rng.integers(width)), int(rng.integers(height))) for _ in range(12)]
    clear = [
        (x, y) for x, y in tries if not frame.mask[max(0, y - 24) : y + 24, max(0, x - 24) : x + 24].any()
    ]
    places = clear or tries
    x, y = max(places, key=lambda at: _busyness(frame, *at)) if rng.random() < 0.5 else places[0]
    reach = int(rng.integers(3, 30))
    return _Spot(
        left=max(0, min(x, width - 2) - reach),
        top=max(0, min(y, height - 2) - reach),
        right=min(width, x + reach + 1),
        bottom=min(height, y + reach + 1),
        is_defect=False,
    )


def _busyness(frame: SimulatedFrame, x: int, y: int) -> float:
    patch = frame.pixels[max(0, y - 12) : y + 12, max(0, x - 12) : x + 12].astype(np.float32)
    return float(np.abs(patch - np.median(patch)).max())


def _p_value(is_defective: bool, rng: np.random.Generator) -> float:
    """Small for most defects, but for many normals too: mainly suspicious frames reach a reasoner."""
    if is_defective:
        return float(rng.uniform(0.001, 0.02) if rng.random() < 0.85 else rng.uniform(0.02, 0.3))
    return float(rng.uniform(0.001, 0.05) if rng.random() < 0.55 else rng.uniform(0.05, 1.0))


def _region(spot: _Spot, peak: float, p_value: float, rng: np.random.Generator) -> Region:
    width, height = spot.right - spot.left, spot.bottom - spot.top
    return Region(
        left=spot.left,
        top=spot.top,
        right=spot.right,
        bottom=spot.bottom,
        peak=peak,
        p_value=min(1.0, p_value * float(rng.uniform(1.0, 1.5))),
        area_px=max(1, int(0.7 * width * height)),
    )
