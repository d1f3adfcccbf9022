"""How far a layout in dark and light is off its template, pixel by pixel, in pixels."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.localize.coarse_shift import Field
from pipelines.localize.two_levels import Grey8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Laid:
    """A frame and its template on the frame's grid, both (height, width), with 0 dark and 255 light."""

    place: int  # which template
    seen: Grey8
    template: Grey8
    shared: NDArray[np.bool_]  # what both show


def how_far_off(laid: Laid, *, edge_px: int, farthest_px: int, floor: float) -> Field:
    """(height, width): by how many px the nearest that agrees lies off, at most ``farthest_px``.

    From the frame to its template and back, added; ``edge_px`` of each are free. The first alone misses a cut
    through a thin trace, for the trace's ground is near; the second alone misses a slit, for copper is near.
    ``floor`` is the share of the contrast that counts as agreeing.
    """
    there = _distance(laid.seen, laid.template, laid.shared, edge_px, farthest_px, floor)
    return there + _distance(laid.template, laid.seen, laid.shared, edge_px, farthest_px, floor)


def _distance(
    here: Grey8, there: Grey8, shared: NDArray[np.bool_], edge_px: int, farthest_px: int, floor: float
) -> Field:
    """How far the nearest pixel of ``there`` lies that agrees with each of ``here``.

    For pictures in pure dark and light this is a distance (steps to a side and to a corner by turns). Between
    the two, what disagrees at each distance is added up, so a half-grey pixel counts by half. Where nothing
    is shared, anything agrees.
    """
    highest = np.where(shared, there, np.uint8(255))
    lowest = np.where(shared, there, np.uint8(0))
    counted = np.maximum(np.arange(256, dtype=np.float32) / 255 - np.float32(floor), 0) / np.float32(
        1 - floor
    )
    total = np.zeros(here.shape, np.float32)
    for step in range(farthest_px + edge_px):
        if step >= edge_px:
            total += cv2.LUT(cv2.max(cv2.subtract(here, highest), cv2.subtract(lowest, here)), counted)
        around = cv2.getStructuringElement((cv2.MORPH_CROSS, cv2.MORPH_RECT)[step % 2], (3, 3))
        highest = _array(cv2.dilate(highest, around, borderType=cv2.BORDER_CONSTANT, borderValue=255))
        lowest = _array(cv2.erode(lowest, around, borderType=cv2.BORDER_CONSTANT, borderValue=0))
    return total


def _array(picture: NDArray[np.generic]) -> Grey8:
    return np.asarray(picture, np.uint8)
