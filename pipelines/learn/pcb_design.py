"""The artwork of the simulated circuit panel: one fixed design that repeats in both directions."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

PANEL_PX = 1152
PITCH_PX = 18
BUS_ROW_PX = 192  # a row of parallel traces and a row of components
SCALE = 2  # drawn larger, for soft edges

Canvas = NDArray[np.uint8]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A straight piece of trace, around its middle."""

    x: float
    y: float
    angle: float
    reach: float  # usable half length
    width_px: float
    neighbour_px: float = 0.0  # signed distance across to the next trace; 0 without one

    def moved(self, x: float, y: float, turn: float) -> Self:
        return replace(self, x=x, y=y, angle=self.angle + turn)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Design:
    """The panel's artwork; ``layers`` holds copper, mask opening and drill."""

    layers: NDArray[np.uint8]
    legend: NDArray[np.uint8]
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Sheet:
    """The films being drawn, and the traces put on them so far."""

    copper: Canvas
    opening: Canvas
    drill: Canvas
    legend: Canvas
    runs: list[Run]


@cache
def design() -> Design:
    """Drawn once per process, always the same."""
    rng = np.random.Generator(np.random.SFC64(20))
    side = PANEL_PX * SCALE
    copper, opening, drill, legend = (np.zeros((side, side), np.uint8) for _ in range(4))
    sheet = _Sheet(copper=copper, opening=opening, drill=drill, legend=legend, runs=[])
    parts = (_draw_chip, _draw_resistors, _draw_vias, _draw_plane)
    for top in range(0, PANEL_PX, BUS_ROW_PX):
        _draw_bus(rng, sheet.copper, sheet.runs, top)
        for left in range(0, PANEL_PX, 144):
            kind = int(rng.choice(len(parts), p=[0.4, 0.25, 0.15, 0.2]))
            parts[kind](sheet, left, top + 92)
    return Design(
        layers=np.asarray(cv2.merge([_reduced(layer) for layer in (copper, opening, drill)]), dtype=np.uint8),
        legend=_reduced(legend),
        runs=tuple(sheet.runs),
    )


def _draw_bus(rng: np.random.Generator, copper: Canvas, runs: list[Run], top: int) -> None:
    """Four parallel traces that jog together; they leave at the height where they came in."""
    width_px = float(rng.choice([7.0, 8.0, 9.0]))
    places = [0, *sorted((rng.choice(np.arange(1, 15), 4, replace=False) * 76).tolist()), PANEL_PX]
    jogs = [0, 9, 0, -9, 0]
    for lane in range(4):
        base = top + 14 + PITCH_PX * lane
        points: list[Point] = [(0.0, float(base))]
        for index, place in enumerate(places[1:-1]):
            before, after = base + jogs[index], base + jogs[index + 1]
            points += [(place - abs(after - before) / 2, before), (place + abs(after - before) / 2, after)]
        points.append((float(PANEL_PX), float(base)))
        _draw_trace(copper, points, width_px)
        neighbour = float(PITCH_PX) if lane < 3 else -float(PITCH_PX)
        runs.extend(_pieces(points, width_px, neighbour))


def _draw_chip(sheet: _Sheet, left: int, top: int) -> None:
    """Two rows of five pads, every other pair joined under the chip."""
    for pin in range(5):
        x = left + 36 + PITCH_PX * pin
        for y in (top + 20, top + 74):
            _draw_pad(sheet, x, y, 5, 10, margin=0.5)
        if pin % 2 == 0:
            _draw_trace(sheet.copper, [(float(x), top + 20.0), (float(x), top + 74.0)], 6.0)
    cv2.rectangle(sheet.legend, _dot(left + 26, top + 36), _dot(left + 118, top + 58), 255, 2 * SCALE)
    cv2.circle(sheet.legend, _dot(left + 33, top + 47), 3 * SCALE, 255, -1)


def _draw_resistors(sheet: _Sheet, left: int, top: int) -> None:
    """Two parts of two pads, each with a name and a trace to a via."""
    for row, name in enumerate((f"R{left // 9}", f"C{top // 9}")):
        y = top + 24 + 46 * row
        for x in (left + 34, left + 70):
            _draw_pad(sheet, x, y, 10, 12, margin=1)
        _draw_trace(sheet.copper, [(left + 70.0, float(y)), (left + 126.0, float(y))], 9.0)
        _draw_via(sheet, left + 126, y)
        sheet.runs.append(Run(x=left + 98.0, y=float(y), angle=0.0, reach=12.0, width_px=9.0))
        place, font = _dot(left + 82, y - 9), cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(sheet.legend, name, place, font, 0.42 * SCALE, 255, SCALE, cv2.LINE_AA)


def _draw_vias(sheet: _Sheet, left: int, top: int) -> None:
    for column in range(3):
        for row in range(2):
            _draw_via(sheet, left + 32 + 40 * column, top + 26 + 44 * row)
    _draw_trace(sheet.copper, [(left + 32.0, top + 26.0), (left + 72.0, top + 26.0)], 8.0)
    _draw_trace(sheet.copper, [(left + 72.0, top + 70.0), (left + 112.0, top + 70.0)], 8.0)


def _draw_plane(sheet: _Sheet, left: int, top: int) -> None:
    cv2.rectangle(sheet.copper, _dot(left + 14, top + 8), _dot(left + 130, top + 86), 255, -1)
    for x, y in ((left + 40, top + 30), (left + 104, top + 64)):
        _draw_via(sheet, x, y)


def _draw_trace(copper: Canvas, points: list[Point], width_px: float) -> None:
    dots = np.array([_dot(x, y) for x, y in points], np.int32)
    cv2.polylines(copper, [dots], False, 255, round(width_px * SCALE))


def _draw_via(sheet: _Sheet, x: float, y: float) -> None:
    cv2.circle(sheet.copper, _dot(x, y), 11 * SCALE, 255, -1)
    cv2.circle(sheet.opening, _dot(x, y), 12 * SCALE, 255, -1)
    cv2.circle(sheet.drill, _dot(x, y), int(5.5 * SCALE), 255, -1)


def _draw_pad(sheet: _Sheet, x: int, y: int, half_x: int, half_y: int, *, margin: float) -> None:
    """A pad, and an opening in the mask a margin larger on every side."""
    for canvas, wider in ((sheet.copper, 0.0), (sheet.opening, margin)):
        corner = _dot(x + half_x + wider, y + half_y + wider)
        cv2.rectangle(canvas, _dot(x - half_x - wider, y - half_y - wider), corner, 255, -1)


def _reduced(canvas: Canvas) -> Canvas:
    small = cv2.resize(canvas, (PANEL_PX, PANEL_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)


def _dot(x: float, y: float) -> tuple[int, int]:
    return round(x * SCALE), round(y * SCALE)


def _pieces(points: list[Point], width_px: float, neighbour_px: float) -> Iterator[Run]:
    """The level pieces of a trace, cut to about 90 px, without their ends."""
    for (x0, y0), (x1, y1) in pairwise(points):
        length = math.hypot(x1 - x0, y1 - y0)
        if y0 != y1 or length < 40:
            continue
        count = max(round(length / 90), 1)
        for piece in range(count):
            x = x0 + (piece + 0.5) * length / count
            reach = length / count / 2 - 8
            yield Run(x=x, y=y0, angle=0.0, reach=reach, width_px=width_px, neighbour_px=neighbour_px)
