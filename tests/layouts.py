"""Frames of a make-believe print: the same drawing every time, wherever the camera happens to look."""

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.frame import Picture

MARGIN_PX = 40


def layout(seed: int, height: int = 96, width: int = 128) -> Picture:
    """A frame of the print, a few pixels off, with noise; another seed is another frame."""
    rng = np.random.default_rng(seed)
    left, top = rng.uniform(0, 6, 2)
    return seen(left=left, top=top, height=height, width=width, noise=2.0, seed=seed)


def seen(
    *,
    left: float,
    top: float,
    turn_degrees: float = 0.0,
    height: int = 96,
    width: int = 128,
    noise: float = 0.0,
    seed: int = 0,
    drawing: int = 0,
) -> Picture:
    """The drawing from (left, top) on, turned about the picture's top left corner."""
    cos, sin = np.cos(np.radians(turn_degrees)), np.sin(np.radians(turn_degrees))
    matrix = np.array([[cos, sin, left + MARGIN_PX], [-sin, cos, top + MARGIN_PX]], np.float64)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    picture = cv2.warpAffine(_drawing(drawing), matrix, (width, height), flags=flags)
    grain = np.random.default_rng(seed).normal(0, noise, picture.shape) if noise else 0
    return Picture(pixels=np.clip(np.rint(picture + grain), 0, 255).astype(np.uint8))


@cache
def _drawing(number: int) -> NDArray[np.float32]:
    """Blocks and strokes on a middle grey, softened as a lens does."""
    rng = np.random.default_rng(1000 + number)
    canvas = np.full((400, 560), 130, np.uint8)
    for _ in range(260):
        x, y = (int(rng.integers(side)) for side in (canvas.shape[1], canvas.shape[0]))
        wide, high = (int(value) for value in rng.integers(4, 22, 2))
        cv2.rectangle(canvas, (x, y), (x + wide, y + high), int(rng.integers(80, 200)), -1)
    return np.asarray(cv2.GaussianBlur(canvas.astype(np.float32), (0, 0), 0.8), np.float32)
