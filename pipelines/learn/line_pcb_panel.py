"""Printed circuit panel: copper under green solder mask, gilt pads, vias and white legend, in colour."""

import math
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np

from pipelines.learn.pcb_design import PANEL_PX, Run, design
from pipelines.learn.surfaces import (
    Camera,
    Field,
    LineRecipe,
    Picture,
    Rng,
    Stroke,
    Surface,
    Window,
    between,
    blob_distance,
    fading,
    line_coverage,
    mixed,
    noise,
    path,
    soft_inside,
    spot_or_blob,
    window_around,
    window_at,
)

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
    picture *= uneven[:, :, None]
    return Surface(picture=picture, layout=panel)


def open_trace(surface: Surface[Panel], rng: Rng) -> Stroke:
    """A trace cut through: with a clean round bite from dust at imaging, or tapering away where etched thin."""
    panel = surface.layout
    run, x, y = _on_run(panel, rng)
    window = window_at(x, y, 46, 46, panel.height, panel.width)
    copper = window.cut(panel.copper)
    if is_from_imaging := rng.random() < 0.5:
        radius = run.width_px * between(rng, 0.62, 0.95)
        gone = soft_inside(blob_distance(rng, window, x, y, radius, radius, roughness=0.05), 0.25)
    else:
        along, aside = _along(window, x, y, run.angle)
        reach, gap = between(rng, 16, 34), between(rng, 3, 8)
        edge = aside + np.float32(0.8) * noise(rng, *window.shape, 3)
        left = np.float32(run.width_px / 2 + 1.5) * np.clip((np.abs(along) - gap) / (reach - gap), 0, 1)
        within = np.clip((np.float32(reach) - np.abs(along)) / 2, 0, 1)
        near = np.clip(np.float32(run.width_px / 2 + 3) - np.abs(aside), 0, 1)
        gone = np.clip(np.abs(edge) - left + np.float32(0.5), 0, 1) * within * near
    picture = _rebuilt(surface, window, copper=copper * (1 - gone))
    coverage = np.asarray(gone * (copper > 0.3), dtype=np.float32)
    step = "imaging" if is_from_imaging else "etching"
    return Stroke(window=window, picture=picture, coverage=coverage, step=step, shape="blob")


def short(surface: Surface[Panel], rng: Rng) -> Stroke:
    """Copper left between two neighbouring traces: a ragged bridge."""
    panel = surface.layout
    run, x, y = _on_run(panel, rng, needs_neighbour=True)
    normal = run.angle + math.pi / 2
    middle_x = x + 0.5 * run.neighbour_px * math.cos(normal)
    middle_y = y + 0.5 * run.neighbour_px * math.sin(normal)
    half = abs(run.neighbour_px) / 2
    window = window_at(middle_x, middle_y, half + 22, half + 22, panel.height, panel.width)
    along, aside = _along(window, middle_x, middle_y, run.angle)
    slant = between(rng, -0.6, 0.6)
    breadth = np.float32(between(rng, 2.2, 6.5)) + np.float32(1.3) * noise(rng, *window.shape, 3)
    flare = np.float32(0.05) * aside * aside
    bridge = np.clip(breadth + flare - np.abs(along - np.float32(slant) * aside) + np.float32(0.5), 0, 1)
    bridge *= np.clip(np.float32(half) - np.abs(aside) + np.float32(0.5), 0, 1)
    return _added(surface, window, np.asarray(bridge, np.float32), step="etching", shape="blob")


def mouse_bite(surface: Surface[Panel], rng: Rng) -> Stroke:
    """A rounded bite out of a trace's edge that leaves the trace whole."""
    panel = surface.layout
    run, x, y = _on_run(panel, rng)
    side = (run.width_px / 2) * (1 if rng.random() < 0.5 else -1)
    bite_x, bite_y = x - side * math.sin(run.angle), y + side * math.cos(run.angle)
    deep, wide = run.width_px * between(rng, 0.4, 0.66), between(rng, 4.5, 10)
    window = window_at(bite_x, bite_y, 24, 24, panel.height, panel.width)
    distance = blob_distance(rng, window, bite_x, bite_y, wide, deep, angle=run.angle, roughness=0.1)
    gone = soft_inside(distance, 0.3)
    copper = window.cut(panel.copper)
    picture = _rebuilt(surface, window, copper=copper * (1 - gone))
    coverage = np.asarray(gone * (copper > 0.3), dtype=np.float32)
    return Stroke(window=window, picture=picture, coverage=coverage, step="etching", shape="edge")


def spur(surface: Surface[Panel], rng: Rng) -> Stroke:
    """A pointed outgrowth of copper on a trace's edge that touches nothing else."""
    panel = surface.layout
    run, x, y = _on_run(panel, rng)
    side = 1 if rng.random() < 0.5 else -1
    root_x = x - side * 0.3 * run.width_px * math.sin(run.angle)
    root_y = y + side * 0.3 * run.width_px * math.cos(run.angle)
    window = window_at(root_x, root_y, 26, 26, panel.height, panel.width)
    along, aside = _along(window, root_x, root_y, run.angle)
    length = between(rng, 6.5, 10.5) + 0.2 * run.width_px
    height = side * aside / np.float32(length)
    lean = np.float32(between(rng, -0.5, 0.5)) * aside
    half = np.float32(between(rng, 3.2, 6)) * np.clip(1 - height, 0, 1) ** np.float32(0.8)
    half = half + np.float32(0.5) * noise(rng, *window.shape, 3)
    thorn = np.clip(half - np.abs(along - lean) + np.float32(0.5), 0, 1) * (height > -0.1) * (height < 1)
    return _added(surface, window, np.asarray(thorn, np.float32), step="imaging", shape="edge")


def copper_residue(surface: Surface[Panel], rng: Rng) -> Stroke:
    """An island of copper where there should be none, under the solder mask."""
    panel = surface.layout
    for _ in range(12):
        x, y = _anywhere(panel, rng)
        if panel.copper[int(y), int(x)] < 0.1 and panel.drill[int(y), int(x)] < 0.1:
            break
    radius_x, radius_y = between(rng, 4.5, 12), between(rng, 4, 10)
    window = window_at(x, y, 2 * radius_x + 4, 2 * radius_y + 4, panel.height, panel.width)
    turn = between(rng, 0, math.pi)
    distance = blob_distance(rng, window, x, y, radius_x, radius_y, angle=turn, roughness=0.24)
    shape = spot_or_blob(2 * max(radius_x, radius_y))
    return _added(surface, window, soft_inside(distance, 0.25), step="etching", shape=shape)


def pin_hole(surface: Surface[Panel], rng: Rng) -> Stroke:
    """A small round hole in the middle of copper: in a wide trace, a pad or a plane."""
    panel = surface.layout
    for _ in range(40):
        x, y = _anywhere(panel, rng)
        window = window_at(x, y, 7, 7, panel.height, panel.width)
        if _is_plain_copper(panel, window):
            break
    radius = between(rng, 3.0, 5.2)
    window = window_at(x, y, 14, 14, panel.height, panel.width)
    gone = soft_inside(blob_distance(rng, window, x, y, radius, radius, roughness=0.08), 0.4)
    copper = window.cut(panel.copper)
    picture = _rebuilt(surface, window, copper=copper * (1 - gone))
    coverage = np.asarray(gone * (copper > 0.3), dtype=np.float32)
    return Stroke(window=window, picture=picture, coverage=coverage, step="imaging", shape="spot")


def mask_scratch(surface: Surface[Panel], rng: Rng) -> Stroke:
    """A scrape through the solder mask: pale on laminate, bright metal wherever it crosses copper."""
    panel = surface.layout
    x, y = _anywhere(panel, rng)
    length = between(rng, 46, 230)
    points = path(rng, x, y, between(rng, 0, math.pi), length, bend=between(rng, -14, 14), jitter=0.3)
    window = window_around(points, 8, panel.height, panel.width)
    scrape = line_coverage(window, points, between(rng, 2.0, 3.6), fading(rng, len(points), 0.55))
    scrape *= 1 - window.cut(panel.opening)
    below = window.cut(surface.picture)
    copper = window.cut(panel.copper)[:, :, None]
    powder = MASK_ON_LAMINATE * np.float32(0.5) + np.float32(between(rng, 0.2, 0.34))
    bared = powder + (COPPER * np.float32(1.08) - powder) * copper
    picture = mixed(below, np.asarray(bared, dtype=np.float32), scrape)
    coverage = scrape * np.float32(1.7)
    return Stroke(window=window, picture=picture, coverage=coverage, step="routing", shape="line")


def mask_void(surface: Surface[Panel], rng: Rng) -> Stroke:
    """A place that the solder mask did not cover: bare laminate and bare copper within one outline."""
    panel = surface.layout
    x, y = _anywhere(panel, rng)
    radius_x, radius_y = between(rng, 10, 32), between(rng, 10, 30)
    window = window_at(x, y, 1.7 * radius_x, 1.7 * radius_y, panel.height, panel.width)
    distance = blob_distance(rng, window, x, y, radius_x, radius_y, roughness=0.18)
    bare = soft_inside(distance, 0.12) * (1 - window.cut(panel.opening)) * (1 - window.cut(panel.drill))
    copper = window.cut(panel.copper)[:, :, None]
    weave = np.float32(0.9) + np.float32(0.06) * noise(rng, *window.shape, 2, 6)
    bared = (LAMINATE + (COPPER - LAMINATE) * copper) * weave[:, :, None]
    thick = np.exp(-(((distance - 1.08) / 0.07) ** 2)) * np.float32(-0.25)
    below = window.cut(surface.picture) * (1 + thick)[:, :, None]
    share = bare * np.float32(between(rng, 0.6, 0.95))
    picture = mixed(np.asarray(below, np.float32), np.asarray(bared, np.float32), share)
    coverage = np.maximum(bare, (distance < 1.12).astype(np.float32))
    return Stroke(window=window, picture=picture, coverage=coverage, step="solder-mask", shape="patch")


def _rendered(copper: Field, opening: Field, legend: Field, drill: Field) -> Picture:
    """The colour of the stack; a trace's upper-left flank catches light and its lower-right one loses it."""
    # Copper stands proud of the laminate, and the mask over it slopes.
    raised = cv2.GaussianBlur(copper, (0, 0), 1.1)
    flank = cv2.filter2D(raised, -1, np.array([[1, 0, 0], [0, 0, 0], [0, 0, -1]], np.float32))
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


def _rebuilt(surface: Surface[Panel], window: Window, *, copper: Field) -> Picture:
    """The window with other copper under the same mask, legend and light."""
    panel = surface.layout
    opening, legend, drill = (window.cut(field) for field in (panel.opening, panel.legend, panel.drill))
    change = _rendered(copper, opening, legend, drill)
    change -= _rendered(window.cut(panel.copper), opening, legend, drill)
    return np.asarray(window.cut(surface.picture) + change, dtype=np.float32)


def _added(surface: Surface[Panel], window: Window, metal: Field, *, step: str, shape: str) -> Stroke:
    copper = window.cut(surface.layout.copper)
    picture = _rebuilt(surface, window, copper=np.maximum(copper, metal))
    coverage = np.asarray(metal * (copper < 0.6), dtype=np.float32)
    return Stroke(window=window, picture=picture, coverage=coverage, step=step, shape=shape)


def _share(layer: np.ndarray) -> Field:  # type: ignore[type-arg]
    return layer.astype(np.float32) * np.float32(1 / 255)


def _along(window: Window, x: float, y: float, angle: float) -> tuple[Field, Field]:
    """Distance of each pixel from (x, y) along and across a direction."""
    grid_x, grid_y = window.grid()
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    along = (grid_x - np.float32(x)) * cos + (grid_y - np.float32(y)) * sin
    aside = (grid_y - np.float32(y)) * cos - (grid_x - np.float32(x)) * sin
    return along, aside


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


def _on_run(panel: Panel, rng: Rng, *, needs_neighbour: bool = False) -> tuple[Run, float, float]:
    """A point on a trace in sight; where none is, a made-up one in the middle that the caller's try fails on."""
    runs = [run for run in panel.runs if run.neighbour_px or not needs_neighbour]
    if not runs:
        x, y = _anywhere(panel, rng)
        return Run(x=x, y=y, angle=0.0, reach=1.0, width_px=9.0, neighbour_px=16.0), x, y
    run = runs[int(rng.integers(len(runs)))]
    along = between(rng, -run.reach, run.reach)
    return run, run.x + along * math.cos(run.angle), run.y + along * math.sin(run.angle)


def _is_plain_copper(panel: Panel, window: Window) -> bool:
    other = np.maximum(window.cut(panel.legend), window.cut(panel.drill))
    return float(window.cut(panel.copper).min()) > 0.9 and float(other.max()) < 0.1


def _anywhere(panel: Panel, rng: Rng) -> tuple[float, float]:
    return between(rng, 0.05, 0.95) * panel.width, between(rng, 0.05, 0.95) * panel.height


RECIPE = LineRecipe(
    product="pcb-panel",
    paint=paint,
    defects=MappingProxyType(
        {
            "open": open_trace,
            "short": short,
            "mouse-bite": mouse_bite,
            "spur": spur,
            "copper-residue": copper_residue,
            "pin-hole": pin_hole,
            "mask-scratch": mask_scratch,
            "mask-void": mask_void,
        }
    ),
    camera=Camera(gain=(0.92, 1.1), gradient=0.06, vignette=0.06, grain=0.009, dust_is_dark=0.3),
)
