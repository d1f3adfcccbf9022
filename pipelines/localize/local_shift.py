"""What is left between two pictures laid over each other: small shifts that change from place to place.

A line camera's belt and stage are not even, so a template fits one part of a frame and is a few pixels off in
another. A window is large against a defect, so that a defect does not move what lies under it.
"""

from collections.abc import Callable

import cv2
import numpy as np

from pipelines.localize.coarse_shift import Field
from pipelines.localize.two_levels import Grey8

LEVELS = ((4, 3), (2, 2), (1, 1))  # parts of the size, and how many of its px a place may move there
BLOCK_PX = 16  # one shift is told for each
WINDOW_BLOCKS = 5
# Per px of shift, of full scale: where the pictures do not tell (plain, or along an edge), nothing moves.
RELUCTANCE = 0.0004


def settled_shifts(seen: Grey8, draw: Callable[[Field], Grey8]) -> Field:
    """(height, width, 2), x and y in px: how each place of a template laid over a frame must move to fit it.

    ``draw`` gives the template on the frame's grid, moved by such shifts. Coarse steps come first.
    """
    shifts = np.zeros((*seen.shape, 2), np.float32)
    for share, reach_px in LEVELS:
        size = max(1, seen.shape[1] // share), max(1, seen.shape[0] // share)
        here, there = (
            np.asarray(cv2.resize(each, size, interpolation=cv2.INTER_AREA), np.uint8)
            for each in (seen, draw(shifts))
        )
        found = local_shifts(here, there, reach_px=reach_px)
        shifts += share * cv2.resize(found, seen.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return shifts


def local_shifts(here: Grey8, there: Grey8, *, reach_px: int) -> Field:
    """(height, width, 2), x and y: here(p) looks like there(p + shift), by whole px within the reach."""
    blocks = max(1, here.shape[1] // BLOCK_PX), max(1, here.shape[0] // BLOCK_PX)
    wide = np.pad(there, reach_px, mode="edge")
    least = np.full(blocks[::-1], np.inf, np.float32)
    best = np.zeros((*blocks[::-1], 2), np.float32)
    for right, down in _nearest_first(reach_px):
        moved = wide[reach_px + down :, reach_px + right :][: here.shape[0], : here.shape[1]]
        off = cv2.resize(cv2.absdiff(here, moved), blocks, interpolation=cv2.INTER_AREA).astype(np.float32)
        cost = cv2.blur(off, (WINDOW_BLOCKS, WINDOW_BLOCKS), borderType=cv2.BORDER_REFLECT) / np.float32(255)
        cost += np.float32(RELUCTANCE * np.hypot(right, down))
        is_better = cost < least
        least[is_better] = cost[is_better]
        best[is_better] = (right, down)
    steady = cv2.blur(np.dstack([cv2.medianBlur(best[:, :, axis], 3) for axis in (0, 1)]), (3, 3))
    return np.asarray(cv2.resize(steady, here.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def _nearest_first(reach_px: int) -> list[tuple[int, int]]:
    steps = range(-reach_px, reach_px + 1)
    return sorted(((x, y) for x in steps for y in steps), key=lambda step: (np.hypot(*step), step))
