"""Where to look: an anomaly map becomes tight regions (kept, evaluated) and views (for the LMM only)."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.frame import Picture, Pixels
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.calibration import Calibration

Box = tuple[int, int, int, int]  # left, top, right, bottom of the *outermost pixels inside*, as Triad counts

# Of a field that came after the first recipes: none is left out of what is hashed (`pipelines.recipe`).
LATER = {"is_later": True}
_ROWS_AT_ONCE = 256  # all that lies above the threshold may be all of the map
_MOST_SPOTS = 1000  # merging compares each with each; a map so torn says nothing about where to look


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionRule:
    """A region grows over pixels of at least ``extent_score`` around one of at least ``peak_score``.

    Without the last two, each connected patch is a region and its box is tight. People draw wider boxes, and
    one around what lies close together; `pipelines.learn.drawn_boxes` learns both from boxes that they drew.
    """

    peak_score: float
    extent_score: float
    min_area_px: int = 4
    merge_px: int | None = field(default=None, metadata=LATER)  # patches so many px apart, or less, are one
    margin_px: int | None = field(default=None, metadata=LATER)  # around the box, where the frame allows

    def __post_init__(self) -> None:
        if not self.extent_score <= self.peak_score:
            raise ValueError(f"extent {self.extent_score:g} must not exceed peak {self.peak_score:g}")
        if min(self.merge_px or 0, self.margin_px or 0) < 0:
            raise ValueError(f"distances of {self.merge_px} and {self.margin_px} px: none may be negative")

    def above(self, threshold: float) -> "RegionRule":
        """The same rule for another threshold: it still reaches half-way down to what normal pixels show.

        A region has its peak above the threshold, as a frame that is rejected has.
        """
        common = 2 * self.extent_score - self.peak_score
        peak = float(np.nextafter(np.float32(threshold), np.float32(np.inf)))
        return replace(self, peak_score=peak, extent_score=min(peak, (peak + common) / 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A half-open box on the frame around connected evidence, tight unless the rule asks for a margin.

    ``peak`` is the worst raw score inside; ``p_value`` is that peak against the calibration frames' worst
    pixels (small is worst); ``area_px`` counts the pixels that belong to it, at most the box's.

    On a web ``top`` and ``bottom`` may be negative: rows of the frame before. ``defect_id`` is then the same
    in all regions, of either frame, that are one defect across the seam. A region that reaches over both
    seams of its frame names the lower one's in ``runs_on``: the same defect goes on under that id.
    """

    left: int
    top: int
    right: int
    bottom: int
    peak: float
    p_value: float
    area_px: int
    defect_id: str | None = None
    runs_on: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewRule:
    """Triad's EG-RoI settings (LLaVA-NeXT/llava/mm_utils.py of its release; research/papers.md 3.3)."""

    view_px: int = 384
    threshold_share: float = 0.9  # of the map's range above its minimum
    merge_overlap: float = 0.1
    drop_overlap: float = 0.8
    most_views: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A half-open crop of the frame that the LMM is shown: a place to look, never evidence of a defect."""

    left: int
    top: int
    right: int
    bottom: int
    peak: float  # the worst raw score of the spot it was made for, by which views are ranked


def find_regions(anomaly: AnomalyMap, rule: RegionRule, calibration: Calibration) -> tuple[Region, ...]:
    """Box every patch, or patches, that the rule admits, worst first (then top to bottom, left to right).

    Pixels that touch only at a corner belong to the same region.
    """
    if np.float32(anomaly.frame_score) < np.float32(rule.peak_score):
        return ()  # nearly every frame: what follows takes twice the map's memory
    return boxed(
        anomaly.scores,
        is_within=anomaly.scores >= rule.extent_score,
        is_peak=anomaly.scores >= rule.peak_score,
        rule=rule,
        p_value=lambda peak, row, column: calibration.p_value(peak),
    )


def boxed(
    scores: NDArray[np.float32],
    *,
    is_within: NDArray[np.bool_],
    is_peak: NDArray[np.bool_],
    rule: RegionRule,
    p_value: Callable[[float, int, int], float],
) -> tuple[Region, ...]:
    """A region for each patch of ``is_within`` that holds a pixel of ``is_peak``, worst first.

    Of the rule only areas and distances count. ``p_value`` is asked for the worst score of a region's peaks,
    with the row and column where it is.
    """
    _, found, measured, _ = cv2.connectedComponentsWithStats(is_within.view(np.uint8), connectivity=8)
    labels, stats = np.asarray(found, np.int32), np.asarray(measured, np.int32)
    bad = [int(k) for k in np.unique(labels[is_peak & is_within]) if stats[k, 4] >= rule.min_area_px]
    margin = rule.margin_px or 0
    regions = []
    for patches in _together(labels, stats, bad, rule.merge_px):
        left, top = (int(side) for side in stats[patches, :2].min(0))
        right, bottom = (int(side) for side in (stats[patches, :2] + stats[patches, 2:4]).max(0))
        box = np.s_[top:bottom, left:right]
        belongs = np.isin(labels[box], patches) & is_peak[box]
        peaks = np.where(belongs, scores[box], np.float32(-np.inf))
        row, column = divmod(int(peaks.argmax()), right - left)
        peak = float(peaks[row, column])
        region = Region(
            left=max(0, left - margin),
            top=max(0, top - margin),
            right=min(scores.shape[1], right + margin),
            bottom=min(scores.shape[0], bottom + margin),
            peak=peak,
            p_value=p_value(peak, top + row, left + column),
            area_px=int(stats[patches, 4].sum()),
        )
        regions.append(region)
    return tuple(sorted(regions, key=lambda found: (-found.peak, found.top, found.left)))


def _together(
    labels: NDArray[np.int32], stats: NDArray[np.int32], patches: list[int], merge_px: int | None
) -> list[list[int]]:
    """Labelled patches in groups: those with at most so many px between them, down or across, are one."""
    if not merge_px or len(patches) < 2:
        return [[patch] for patch in patches]
    # Two sets of pixels, each spread by one square, touch just where so few px lay between them.
    spread = cv2.dilate(np.isin(labels, patches).astype(np.uint8), np.ones((merge_px + 1,) * 2, np.uint8))
    _, groups = cv2.connectedComponents(spread, connectivity=8)
    together: dict[int, list[int]] = {}
    for patch in patches:
        left, top, width = (int(value) for value in stats[patch, :3])
        column = left + int(np.argmax(labels[top, left : left + width] == patch))
        together.setdefault(int(groups[top, column]), []).append(patch)
    return list(together.values())


def eg_roi_views(anomaly: AnomalyMap, rule: ViewRule) -> tuple[View, ...]:
    """Crop where the map is worst, by Triad's expert-guided RoI rule; none if the map is flat.

    As its release does: pixels above ``threshold_share`` of the map's own range, a box around each outer
    contour, grown to at least ``view_px`` square, merged in order, made square once more, the first
    ``most_views`` kept. The threshold is relative, so a perfectly normal frame has views too.

    One thing differs. The release keeps the first four in the order OpenCV finds contours, from the bottom
    up, which drops the worst place whenever it lies high in a busy frame (its own comment: "should sort by
    score"); here contours are taken worst first, and no more than a thousand.
    """
    height, width = anomaly.scores.shape
    merged: list[tuple[float, Box]] = []
    for peak, tight in _outer_boxes(anomaly.scores, rule.threshold_share):
        _merge(merged, peak, tight, _grow(tight, rule.view_px, width, height), rule)
    views = []
    for peak, box in merged[: rule.most_views]:
        left, top, right, bottom = _grow(box, 1, width, height)  # a merged box need not be square
        views.append(View(left=left, top=top, right=right + 1, bottom=bottom + 1, peak=peak))
    return tuple(views)


def base_view(picture: Picture, view_px: int) -> NDArray[np.uint8]:
    """The whole frame as (view_px, view_px, 3) RGB; a frame that is not square is stretched, as in Triad."""
    return _resized(picture.pixels, picture.bit_depth, view_px)


def crop_view(picture: Picture, view: View, view_px: int) -> NDArray[np.uint8]:
    """What the view shows as (view_px, view_px, 3) RGB; one that is not square is stretched, as in Triad.

    A view that begins above the picture (in the frame before, on a web) shows as much from its top on.
    """
    down = max(0, -view.top)
    crop = picture.pixels[view.top + down : view.bottom + down, view.left : view.right]
    return _resized(crop, picture.bit_depth, view_px)


def _outer_boxes(scores: NDArray[np.float32], share: float) -> list[tuple[float, Box]]:
    """The worst score and tight box of the ``_MOST_SPOTS`` worst outer contours, worst first."""
    low, high = float(scores.min()), float(scores.max())
    above = (scores > np.float32(low + share * (high - low))).view(np.uint8)
    contours, _ = cv2.findContours(above, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    # A tight box may hold parts of other contours: only its own pixels say how bad a contour is.
    peaks = np.full(count, -np.inf, np.float32)
    for row in range(0, len(scores), _ROWS_AT_ONCE):
        rows = slice(row, row + _ROWS_AT_ONCE)
        inside = above[rows] > 0
        np.maximum.at(peaks, labels[rows][inside].astype(np.intp), scores[rows][inside])
    outer = np.array([labels[y, x] for x, y in (contour[0, 0] for contour in contours)], np.intp)
    left, top, width, height = stats[outer, :4].T
    order = np.lexsort((left, top, -peaks[outer]))[:_MOST_SPOTS]  # the same in any OpenCV
    boxes = np.stack((left, top, left + width - 1, top + height - 1), axis=1)[order].tolist()
    return [
        (float(peak), (box[0], box[1], box[2], box[3]))
        for peak, box in zip(peaks[outer[order]], boxes, strict=True)
    ]


def _merge(merged: list[tuple[float, Box]], peak: float, tight: Box, grown: Box, rule: ViewRule) -> None:
    """Drop the box, join it to the first one it overlaps, or append it (peaks come in descending order)."""
    for place, (worst, box) in enumerate(merged):
        if _overlap(tight, box) > rule.drop_overlap:
            return
        if _overlap(grown, box) > rule.merge_overlap:
            merged[place] = (worst, _union(grown, box))
            return
    merged.append((peak, grown))


def _union(one: Box, other: Box) -> Box:
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


def _overlap(one: Box, other: Box) -> float:
    """Intersection over the smaller area, 0 to 1; a line one pixel thin has no area and overlaps nothing.

    Sides are last minus first pixel, one too few, because the release measures them so.
    """
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / min(areas)


def _grow(box: Box, least_px: int, width: int, height: int) -> Box:
    """A box at least ``least_px`` square and as long as its longer side, where the frame allows."""
    left, top, right, bottom = box
    side = max(least_px, right - left + 1, bottom - top + 1)
    left, right = _grow_side(left, right, side, width)
    top, bottom = _grow_side(top, bottom, side, height)
    return left, top, right, bottom


def _grow_side(first: int, last: int, side: int, extent: int) -> tuple[int, int]:
    """Centred if that fits the frame, else towards lower, else towards higher, else the whole extent."""
    missing = side - (last - first + 1)
    if missing == 0:
        return first, last
    before = missing // 2
    for start, end in (
        (first - before, last + missing - before),
        (first - missing, last),
        (first, last + missing),
    ):
        if start >= 0 and end < extent:
            return start, end
    return 0, extent - 1


def _resized(pixels: Pixels, bit_depth: int, side_px: int) -> NDArray[np.uint8]:
    """(side_px, side_px, 3) RGB; each axis shrinks by averaging and grows linearly."""
    height, width = pixels.shape[:2]
    shrunk = cv2.resize(pixels, (min(width, side_px), min(height, side_px)), interpolation=cv2.INTER_AREA)
    square = cv2.resize(shrunk, (side_px, side_px), interpolation=cv2.INTER_LINEAR)
    return Picture(pixels=cast("Pixels", square), bit_depth=bit_depth).rgb8()
