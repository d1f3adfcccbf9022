"""A web is cut into frames, and defects do not keep to the cuts: frames laid together, and ids across seams.

A frame of a web is looked at with the last lines of the frame before above it. The two frames are inspected
by different workers, in any order, so neither is told what was found on the other. Both give a defect at
their seam the same id all the same: it is named by the marks on those last lines alone, which both have.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from pipelines.frame import Frame, Picture, Pixels
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.regions import Region, RegionRule, View

LEAST_SEAM_PX, MOST_SEAM_PX = 256, 4096
LEAST_ABOVE_PX = 64  # with fewer lines above there is nothing to see across the seam by
NEAR_PX = 32  # marks on a seam that are nearer to each other than this are one

Localize = Callable[[Picture], AnomalyMap]
Box = TypeVar("Box", Region, View)
_Interval = tuple[int, int]  # columns, half-open


def lines_above(frame: Frame) -> int:
    return 0 if frame.seam is None or frame.seam.above is None else len(frame.seam.above)


def joined(frame: Frame, lines: int) -> Picture:
    """The frame's picture with this many of the lines above it, which it has; the frame's own with none."""
    picture = frame.picture
    if not lines:
        return picture
    assert frame.seam is not None
    assert frame.seam.above is not None
    pixels = np.concatenate([frame.seam.above[-lines:], picture.pixels])
    valid_lines = None if picture.valid_lines is None else picture.valid_lines + lines
    return Picture(pixels=cast("Pixels", pixels), bit_depth=picture.bit_depth, valid_lines=valid_lines)


def last_lines(picture: Picture, seam_px: int) -> Pixels:
    """What the next frame of the web is laid under, in memory of its own."""
    return picture.pixels[-seam_px:].copy()


def moved_down(box: Box, lines: int) -> Box:
    return replace(box, top=box.top + lines, bottom=box.bottom + lines)


def with_ids(
    regions: Sequence[Region], frame: Frame, *, rule: RegionRule, localize: Localize
) -> tuple[Region, ...]:
    """Name the defects that a web's regions belong to; regions of other frames stay nameless.

    A region by one of the seams gets the id of the mark on the last lines of the upper frame that it goes
    through, if there is one; any other gets an id of its own. Nothing is localized unless a region is there.
    """
    seam, picture = frame.seam, frame.picture
    if seam is None:
        return tuple(regions)
    foot = picture.height_px - seam.seam_px // 4
    is_over = any(region.top < 0 for region in regions)
    is_under = picture.is_complete and any(region.bottom > foot for region in regions)
    upper: list[_Interval] = []
    lower: list[_Interval] = []
    if is_over and seam.above is not None:
        above = Picture(pixels=seam.above, bit_depth=picture.bit_depth)
        upper = _marks(above, seam.seam_px, rule, localize)
    if is_under:
        own = Picture(pixels=last_lines(picture, seam.seam_px), bit_depth=picture.bit_depth)
        lower = _marks(own, seam.seam_px, rule, localize)
    named = []
    for number, region in enumerate(regions):
        ids = []
        if region.top < 0 and (mark := _mark_of(region, upper)) is not None:
            ids.append(f"{seam.before}-s{mark}")
        if region.bottom > foot and (mark := _mark_of(region, lower)) is not None:
            ids.append(f"{seam.name}-s{mark}")
        defect_id = ids[0] if ids else f"{seam.name}-{number}"
        named.append(replace(region, defect_id=defect_id, runs_on=ids[1] if len(ids) == 2 else None))
    return tuple(named)


def _marks(strip: Picture, seam_px: int, rule: RegionRule, localize: Localize) -> list[_Interval]:
    """Where along the seam the last lines of a frame, looked at on their own, are suspect.

    By a lower score than regions need: a region of either frame that a little more or less around it lifted
    over its own threshold still finds its mark.
    """
    if strip.height_px < LEAST_ABOVE_PX:
        return []
    least = np.float32(rule.extent_score - (rule.peak_score - rule.extent_score) / 2)
    columns = (localize(strip).scores[-(seam_px // 4) :] >= least).any(0)
    return _intervals(np.flatnonzero(columns))


def _intervals(columns: NDArray[np.intp]) -> list[_Interval]:
    """Runs of ascending columns, over gaps of less than ``NEAR_PX``."""
    if not len(columns):
        return []
    runs = np.split(columns, np.flatnonzero(np.diff(columns) >= NEAR_PX) + 1)
    return [(int(run[0]), int(run[-1]) + 1) for run in runs]


def _mark_of(region: Region, marks: Sequence[_Interval]) -> int | None:
    """The left end of the mark that shares most columns with the region, or is nearest; None if none does."""
    shared = [min(region.right, right) - max(region.left, left) for left, right in marks]
    best = max(range(len(marks)), key=lambda k: shared[k], default=None)
    return None if best is None or shared[best] <= -NEAR_PX else marks[best][0]
