"""Printed circuit panel: copper under green solder mask, gilt pads, vias and white legend, in colour."""

import math
from types import MappingProxyType

import numpy as np

from pipelines.learn.pcb_design import Run
from pipelines.learn.pcb_stack import COPPER, LAMINATE, MASK_ON_LAMINATE, Panel, paint, rebuilt
from pipelines.learn.surfaces import (
    Camera,
    Field,
    LineRecipe,
    Rng,
    Stroke,
    Surface,
    Window,
    anywhere,
    between,
    blob_distance,
    fading,
    line_coverage,
    mixed,
    noise,
    path,
    seek,
    soft_inside,
    spot_or_blob,
    window_around,
    window_at,
)


def open_trace(surface: Surface[Panel], rng: Rng) -> Stroke:
    """A trace cut through: by a clean round bite from dust at imaging, or tapering away where over-etched."""
    panel = surface.layout
    run, x, y = _on_run(panel, rng)
    window = window_at(x, y, 46, 46, panel.height, panel.width)
    copper = window.cut(panel.copper)
    is_from_imaging = rng.random() < 0.5
    gone: Field
    if is_from_imaging:
        radius = run.width_px * between(rng, 0.62, 0.95)
        gone = soft_inside(blob_distance(rng, window, x, y, radius, radius, roughness=0.05), 0.25)
    else:
        along, aside = _along(window, x, y, run.angle)
        reach, gap = between(rng, 16, 34), between(rng, 3, 8)
        edge = aside + np.float32(0.8) * noise(rng, *window.shape, 3)
        left = np.float32(run.width_px / 2 + 1.5) * np.clip((np.abs(along) - gap) / (reach - gap), 0, 1)
        within = np.clip((np.float32(reach) - np.abs(along)) / 2, 0, 1)
        near = np.clip(np.float32(run.width_px / 2 + 3) - np.abs(aside), 0, 1)
        thinned = np.clip(np.abs(edge) - left + np.float32(0.5), 0, 1) * within * near
        gone = np.asarray(thinned, dtype=np.float32)
    picture = rebuilt(surface, window, copper=copper * (1 - gone))
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
    picture = rebuilt(surface, window, copper=copper * (1 - gone))
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

    def is_bare(x: float, y: float) -> bool:
        return bool(max(panel.copper[int(y), int(x)], panel.drill[int(y), int(x)]) < 0.1)

    x, y = seek(rng, panel.height, panel.width, is_bare, tries=12)
    radius_x, radius_y = between(rng, 4.5, 12), between(rng, 4, 10)
    window = window_at(x, y, 2 * radius_x + 4, 2 * radius_y + 4, panel.height, panel.width)
    turn = between(rng, 0, math.pi)
    distance = blob_distance(rng, window, x, y, radius_x, radius_y, angle=turn, roughness=0.24)
    shape = spot_or_blob(2 * max(radius_x, radius_y))
    return _added(surface, window, soft_inside(distance, 0.25), step="etching", shape=shape)


def pin_hole(surface: Surface[Panel], rng: Rng) -> Stroke:
    """A small round hole in the middle of copper: in a wide trace, a pad or a plane."""
    panel = surface.layout

    def is_plain_copper(x: float, y: float) -> bool:
        around = window_at(x, y, 7, 7, panel.height, panel.width)
        other = np.maximum(around.cut(panel.legend), around.cut(panel.drill))
        return bool(around.cut(panel.copper).min() > 0.9 and other.max() < 0.1)

    x, y = seek(rng, panel.height, panel.width, is_plain_copper, tries=60)
    radius = between(rng, 3.0, 5.2)
    window = window_at(x, y, 14, 14, panel.height, panel.width)
    gone = soft_inside(blob_distance(rng, window, x, y, radius, radius, roughness=0.08), 0.4)
    copper = window.cut(panel.copper)
    picture = rebuilt(surface, window, copper=copper * (1 - gone))
    coverage = np.asarray(gone * (copper > 0.3), dtype=np.float32)
    return Stroke(window=window, picture=picture, coverage=coverage, step="imaging", shape="spot")


def mask_scratch(surface: Surface[Panel], rng: Rng) -> Stroke:
    """A scrape through the solder mask: pale on laminate, bright metal wherever it crosses copper."""
    panel = surface.layout
    x, y = anywhere(rng, panel.height, panel.width)
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
    x, y = anywhere(rng, panel.height, panel.width)
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


def _added(surface: Surface[Panel], window: Window, metal: Field, *, step: str, shape: str) -> Stroke:
    copper = window.cut(surface.layout.copper)
    picture = rebuilt(surface, window, copper=np.maximum(copper, metal))
    coverage = np.asarray(metal * (copper < 0.6), dtype=np.float32)
    return Stroke(window=window, picture=picture, coverage=coverage, step=step, shape=shape)


def _along(window: Window, x: float, y: float, angle: float) -> tuple[Field, Field]:
    """Distance of each pixel from (x, y) along and across a direction."""
    grid_x, grid_y = window.grid()
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    along = (grid_x - np.float32(x)) * cos + (grid_y - np.float32(y)) * sin
    aside = (grid_y - np.float32(y)) * cos - (grid_x - np.float32(x)) * sin
    return along, aside


def _on_run(panel: Panel, rng: Rng, *, needs_neighbour: bool = False) -> tuple[Run, float, float]:
    """A point on a trace in sight; where none is, a made-up one that leaves little trace."""
    runs = [run for run in panel.runs if run.neighbour_px or not needs_neighbour]
    if not runs:
        x, y = anywhere(rng, panel.height, panel.width)
        return Run(x=x, y=y, angle=0.0, reach=1.0, width_px=9.0, neighbour_px=16.0), x, y
    run = runs[int(rng.integers(len(runs)))]
    along = between(rng, -run.reach, run.reach)
    return run, run.x + along * math.cos(run.angle), run.y + along * math.sin(run.angle)


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
