"""The artwork of the simulated packaging film: the four ink plates of one repeat."""

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

REPEAT_HEIGHT, REPEAT_WIDTH = 448, 384
CYAN, MAGENTA, YELLOW, BLACK = range(4)
SCALE = 3  # drawn larger, for soft edges

Plate = NDArray[np.float32]  # (height, width): how much ink, 0 to 1
Canvas = NDArray[np.uint8]


@cache
def plates() -> tuple[Plate, ...]:
    """Cyan, magenta, yellow and black; drawn once per process, and the edges meet when repeated."""
    canvases = [np.zeros((REPEAT_HEIGHT * SCALE, REPEAT_WIDTH * SCALE), np.uint8) for _ in range(4)]
    _draw_bands(canvases)
    _draw_fruit(canvases)
    _draw_leaves(canvases)
    _draw_label(canvases)
    _draw_code(canvases[BLACK])
    return tuple(_reduced(canvas) for canvas in canvases)


def _draw_bands(canvases: list[Canvas]) -> None:
    for ink, level in ((CYAN, 235), (MAGENTA, 130)):
        cv2.rectangle(canvases[ink], (0, 0), _dot(54, REPEAT_HEIGHT), level, -1)
    for ink, level in ((YELLOW, 220), (MAGENTA, 90)):
        cv2.rectangle(canvases[ink], _dot(60, 0), _dot(66, REPEAT_HEIGHT), level, -1)


def _draw_fruit(canvases: list[Canvas]) -> None:
    for x, y, radius in ((170, 130, 62), (262, 168, 50), (196, 218, 44)):
        size = radius * SCALE
        cv2.circle(canvases[YELLOW], _dot(x, y), size, 240, -1)
        cv2.circle(canvases[MAGENTA], _dot(x, y), size, 150, -1)
        cv2.circle(canvases[MAGENTA], _dot(x + 9, y + 9), int(0.72 * size), 105, -1)
        cv2.circle(canvases[MAGENTA], _dot(x - radius // 3, y - radius // 3), size // 4, 25, -1)


def _draw_leaves(canvases: list[Canvas]) -> None:
    for x, y, turn in ((236, 84, -35), (300, 110, 30), (118, 202, 60)):
        for ink, level in ((CYAN, 215), (YELLOW, 235), (MAGENTA, 20)):
            cv2.ellipse(canvases[ink], _dot(x, y), _dot(44, 17), turn, 0, 360, level, -1)
        cv2.ellipse(canvases[BLACK], _dot(x, y), _dot(40, 1), turn, 0, 360, 120, -1)


def _draw_label(canvases: list[Canvas]) -> None:
    """A red label whose lettering is left free of ink, and three lines of black text."""
    for ink, level in ((MAGENTA, 225), (YELLOW, 190)):
        canvas = canvases[ink]
        cv2.rectangle(canvas, _dot(86, 292), _dot(360, 344), level, -1)
        large = cv2.FONT_HERSHEY_DUPLEX
        cv2.putText(canvas, "ORANGE", _dot(112, 334), large, 1.75 * SCALE, 0, 4 * SCALE, cv2.LINE_AA)
    for row, text in enumerate(("net weight 250 g", "keep cool and dry", "best before: see seal")):
        place, small = _dot(90, 370 + 19 * row), cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(canvases[BLACK], text, place, small, 0.5 * SCALE, 245, SCALE, cv2.LINE_AA)


def _draw_code(canvas: Canvas) -> None:
    bars = np.random.Generator(np.random.SFC64(7)).integers(2, 6, 24)
    x = 284
    for index, thickness in enumerate(bars.tolist()):
        if index % 2 == 0:
            cv2.rectangle(canvas, _dot(x, 360), (_dot(x + thickness, 0)[0] - 1, 424 * SCALE), 250, -1)
        x += thickness


def _reduced(canvas: Canvas) -> Plate:
    small = cv2.resize(canvas, (REPEAT_WIDTH, REPEAT_HEIGHT), interpolation=cv2.INTER_AREA)
    soft = cv2.GaussianBlur(small.astype(np.float32), (3, 3), 0.6)
    return np.asarray(soft / np.float32(255), dtype=np.float32)


def _dot(x: int, y: int) -> tuple[int, int]:
    return x * SCALE, y * SCALE
