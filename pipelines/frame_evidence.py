"""What a map says of its frame under a recipe: one p-value, and the regions that made it small."""

from dataclasses import dataclass

import numpy as np

from pipelines.frame import Picture
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.calibration import Calibration
from pipelines.localize.frame_score import scored
from pipelines.localize.grouped_calibration import GroupedCalibration, Measured, PlacedCalibration, measure
from pipelines.localize.zones import Cell, cells_of
from pipelines.recipe import Recipe
from pipelines.regions import Region, RegionRule, boxed, find_regions


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameEvidence:
    """``score`` is the worst of the whole frame. ``calibration`` is what this frame was compared with, and
    ``told`` the map that was; ``measured`` is kept so that another threshold can be tried later.

    ``place`` names the zone that gave the p-value, where the recipe has zones.
    """

    score: float
    p_value: float
    regions: tuple[Region, ...]
    told: AnomalyMap
    calibration: Calibration | PlacedCalibration
    measured: Measured | None = None
    place: str | None = None


def weigh(anomaly: AnomalyMap, picture: Picture, recipe: Recipe) -> FrameEvidence:
    """Compare a frame's map with the calibration frames of its own light and zones, if the recipe has any."""
    told = scored(anomaly, recipe.score_rule)
    if recipe.groups is not None:
        return _by_groups(told, picture, recipe, recipe.groups)
    return FrameEvidence(
        score=told.frame_score,
        p_value=recipe.calibration.p_value(told.frame_score),
        regions=find_regions(told, recipe.regions, recipe.calibration),
        told=told,
        calibration=recipe.calibration,
    )


def _by_groups(
    told: AnomalyMap, picture: Picture, recipe: Recipe, groups: GroupedCalibration
) -> FrameEvidence:
    rate = recipe.decision.review_p
    measured = measure(told, picture, groups.zones)
    placed = groups.of(measured.level, rate)
    p_value, place = placed.p_value(measured.scores)
    return FrameEvidence(
        score=told.frame_score,
        p_value=p_value,
        regions=_regions(told, recipe.regions, placed, rate) if p_value <= rate else (),
        told=told,
        calibration=placed,
        measured=measured,
        place=groups.places[place] if groups.zones else None,
    )


def _regions(
    told: AnomalyMap, rule: RegionRule, placed: PlacedCalibration, rate: float
) -> tuple[Region, ...]:
    """As ``find_regions``, with each place's own threshold; a region may reach over the border of a zone."""
    scores = told.scores
    cells = cells_of(placed.zones, scores.shape)
    is_peak, is_within = np.zeros(scores.shape, np.bool_), np.zeros(scores.shape, np.bool_)
    for place, calibration in enumerate(placed.calibrations):
        here = rule.above(_threshold(calibration, rate / len(placed.calibrations)))
        for cell in cells[place]:
            is_peak[cell] = scores[cell] >= here.peak_score
            is_within[cell] = scores[cell] >= here.extent_score

    def p_value(peak: float, row: int, column: int) -> float:
        return placed.p_value_at(_place_at(row, column, cells), peak)

    return boxed(scores, is_within=is_within, is_peak=is_peak, rule=rule, p_value=p_value)


def _threshold(calibration: Calibration, rate: float) -> float:
    """Above it a score is significant; a provisional recipe may have too few frames for a rate of its own."""
    if not calibration.scores:
        return float(np.finfo(np.float32).max)
    can_be_had = calibration.smallest_p <= rate < 1
    return calibration.threshold(rate) if can_be_had else calibration.scores[-1]


def _place_at(row: int, column: int, cells: tuple[tuple[Cell, ...], ...]) -> int:
    return next(
        place
        for place, rectangles in enumerate(cells)
        for rows, columns in rectangles
        if rows.start <= row < rows.stop and columns.start <= column < columns.stop
    )
