"""The simulated circuit panel as the camera sees it: copper, solder mask, gold, legend and holes."""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.learn.pcb_design import PANEL_PX, Run, design
from pipelines.learn.surfaces import Field, Picture, Rng, Surface, Window, between, in_colour, noise

LAMINATE = np.array([0.56, 0.5, 0.3], np.float32)
GILT = np.array([0.8, 0.66, 0.34], np.float32)
COPPER = np.array([0.74, 0.43, 0.26], np.float32)
MASK_ON_LAMINATE = np.array([0.045, 0.25, 0.125], np.float32)
MASK_ON_COPPER = np.array([0.13, 0.45, 0.22], np.float32)
LEGEND = np.array([0.86, 0.87, 0.84], np.float32)
DRILLED = np.array([0.035, 0.035, 0.04], np.float32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Panel:
    """Which part of the panel the camera sees: its materials, and the traces that can be hit."""

    height: int
    width: int
    angle: float
    copper: Field  # 1 where the layer has copper
    opening: Field  # 1 where the solder mask leaves the metal free
    legend: Field
    drill: Field
    runs: tuple[Run, ...]  # straight trace pieces, in frame pixels


def paint(rng: Rng, height: int, width: int) -> Surface[Panel]:
    """Any part of the panel, slightly turned, the legend a little off; glossy mask, grainy metal."""
    angle = math.radians(between(rng, -0.5, 0.5))
    cos, sin = math.cos(angle), math.sin(angle)
    start_x, start_y = between(rng, 0, PANEL_PX), between(rng, 0, PANEL_PX)
    x = np.arange(width, dtype=np.float32)[None, :]
    y = np.arange(height, dtype=np.float32)[:, None]
    map_x = np.float32(cos) * x + np.float32(sin) * y + np.float32(start_x)
    map_y = np.float32(-sin) * x + np.float32(cos) * y + np.float32(start_y)
    plan = design()
    layers = cv2.remap(plan.layers, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    map_x += np.float32(between(rng, -1.5, 1.5))
    legend = cv2.remap(plan.legend, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    copper, opening, drill = (_share(layer) for layer in cv2.split(layers))
    panel = Panel(
        height=height,
        width=width,
        angle=angle,
        copper=copper,
        opening=opening,
        legend=_share(legend) * (1 - opening),
        drill=drill,
        runs=tuple(_seen(plan.runs, start_x, start_y, angle, height, width)),
    )
    picture = _rendered(panel.copper, panel.opening, panel.legend, panel.drill)
    uneven = noise(rng, height, width, 110) * np.float32(0.025) + np.float32(1)
    uneven += noise(rng, height, width, 2) * (np.float32(0.012) + opening * np.float32(0.03))
    picture *= in_colour(uneven)
    return Surface(picture=picture, layout=panel)


def _rendered(copper: Field, opening: Field, legend: Field, drill: Field) -> Picture:
    """The colour of the stack; a trace's upper-left flank catches light and its lower-right one loses it."""
    # Copper stands proud of the laminate, and the mask over it slopes.
    raised = cv2.GaussianBlur(copper, (0, 0), 1.1)
    slope = cv2.filter2D(raised, -1, np.array([[1, 0, 0], [0, 0, 0], [0, 0, -1]], np.float32))
    flank = np.asarray(slope, dtype=np.float32)
    flank *= np.float32(0.16)
    flank += np.float32(1)
    covered, free = 1 - opening, opening * copper
    planes = []
    for channel in range(3):
        under = copper * (MASK_ON_COPPER - MASK_ON_LAMINATE)[channel]
        under += MASK_ON_LAMINATE[channel]
        under *= covered
        under += free * GILT[channel]
        under += (opening - free) * LAMINATE[channel]
        under *= flank
        under += (LEGEND[channel] - under) * legend
        under += (DRILLED[channel] - under) * drill
        planes.append(under)
    return np.asarray(cv2.merge(planes), dtype=np.float32)


def rebuilt(surface: Surface[Panel], window: Window, *, copper: Field) -> Picture:
    """The window with other copper under the same mask, legend and light."""
    panel = surface.layout
    opening, legend, drill = (window.cut(field) for field in (panel.opening, panel.legend, panel.drill))
    change = _rendered(copper, opening, legend, drill)
    change -= _rendered(window.cut(panel.copper), opening, legend, drill)
    return np.asarray(window.cut(surface.picture) + change, dtype=np.float32)


def _share(layer: NDArray[Any]) -> Field:
    return layer.astype(np.float32) * np.float32(1 / 255)


def _seen(
    runs: tuple[Run, ...], start_x: float, start_y: float, angle: float, height: int, width: int
) -> list[Run]:
    """The trace pieces whose middle the camera sees, in frame pixels; the panel repeats without end."""
    cos, sin = math.cos(angle), math.sin(angle)
    seen = []
    for run in runs:
        for wrap_x in (0, PANEL_PX):
            for wrap_y in (0, PANEL_PX):
                u, v = run.x + wrap_x - start_x, run.y + wrap_y - start_y
                x, y = u * cos - v * sin, u * sin + v * cos
                if 12 < x < width - 12 and 12 < y < height - 12:
                    seen.append(run.moved(x, y, angle))
    return seen
