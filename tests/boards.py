"""Frames of make-believe bare boards: dark traces and pads on a light ground, one layout for each number."""

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.frame import Picture

DARK, LIGHT = 40, 210
MARGIN_PX = 40


def board(seed: int, height: int = 96, width: int = 128) -> Picture:
    """A frame of board 0, a few pixels off, with noise; another seed is another frame."""
    left, top = np.random.default_rng(seed).uniform(0, 3, 2)
    return photographed(left=left, top=top, height=height, width=width, noise=3.0, seed=seed)


def photographed(
    *,
    left: float = 0.0,
    top: float = 0.0,
    turn_degrees: float = 0.0,
    wobble_px: float = 0.0,
    height: int = 96,
    width: int = 128,
    noise: float = 0.0,
    seed: int = 0,
    layout: int = 0,
) -> Picture:
    """The board from (left, top) on, turned; its belt ran ``wobble_px`` to and fro within 300 lines."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    cos, sin = np.cos(np.radians(turn_degrees)), np.sin(np.radians(turn_degrees))
    across = cos * x + sin * y + left + MARGIN_PX
    down = cos * y - sin * x + top + MARGIN_PX
    across += wobble_px * np.sin(2 * np.pi * y / 300)
    seen = cv2.remap(artwork(layout), across.astype(np.float32), down.astype(np.float32), cv2.INTER_LINEAR)
    grain = np.random.default_rng(seed).normal(0, noise, seen.shape) if noise else 0
    return Picture(pixels=np.clip(np.rint(seen + grain), 0, 255).astype(np.uint8))


@cache
def artwork(number: int) -> NDArray[np.float32]:
    """Traces with bends, and pads with holes, softened as a lens does."""
    rng = np.random.default_rng(2000 + number)
    canvas = np.full((520, 560), LIGHT, np.uint8)
    for lane in range(14, 520, 26):
        bend = int(rng.integers(60, 480))
        points = np.array([[0, lane], [bend, lane], [bend + 12, lane + 12], [560, lane + 12]], np.int32)
        cv2.polylines(canvas, [points], False, DARK, int(rng.integers(6, 11)))
        for _ in range(3):
            pad = int(rng.integers(560)), int(lane + rng.integers(0, 13))
            cv2.circle(canvas, pad, 11, DARK, -1)
            cv2.circle(canvas, pad, 4, LIGHT, -1)
    return np.asarray(cv2.GaussianBlur(canvas.astype(np.float32), (0, 0), 0.7), np.float32)
