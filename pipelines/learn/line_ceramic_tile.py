"""Ceramic tile: a glazed, inkjet-decorated tile on a dark belt, seen whole and in colour."""

import math
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np

from pipelines.learn.surfaces import (
    Camera,
    Field,
    LineRecipe,
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
    shaded,
    soft_inside,
    spot_or_blob,
    window_around,
    window_at,
)

BODY = np.array([0.72, 0.5, 0.36], np.float32)  # the fired clay under the glaze
GLAZE = np.array([0.8, 0.765, 0.7], np.float32)
DECORATION = np.array([-0.16, -0.2, -0.24], np.float32)  # what full brown ink does to the glaze
BELT = np.array([0.13, 0.135, 0.14], np.float32)
BEVEL_PX = 7.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tile:
    """Where the tile lies: its middle, half sides, turn, and the distance of each pixel to its rim."""

    height: int
    width: int
    x: float
    y: float
    half_x: float
    half_y: float
    angle: float
    inward: Field  # pixels from the rim, negative on the belt

    def place(self, along: float, down: float) -> tuple[float, float]:
        """Frame position of a point of the tile; -1 and 1 are its sides."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        u, v = along * self.half_x, down * self.half_y
        return self.x + u * cos - v * sin, self.y + u * sin + v * cos


def paint(rng: Rng, height: int, width: int) -> Surface[Tile]:
    """Clouds, veins and fine printed speckle under a glaze, with a rounded rim."""
    tile = _lay(rng, height, width)
    ink = noise(rng, height, width, 70) * np.float32(0.09) + np.float32(0.2)
    ink += noise(rng, height, width, 17, 23) * np.float32(0.05)
    vein = noise(rng, height, width, 85, 130)
    vein += noise(rng, height, width, 22) * np.float32(0.16)
    ink += np.exp(-(vein * vein) * np.float32(160)) * np.float32(between(rng, 0.2, 0.42))
    speckle = noise(rng, height, width, 2.1)
    speckle -= np.float32(2.3)
    np.clip(speckle, 0, 1, out=speckle)
    ink += speckle * np.float32(0.8)
    rim = np.clip(np.float32(1) - tile.inward / np.float32(BEVEL_PX), 0, 1)
    shade = np.float32(1) + rim * rim * _rim_light(tile)
    onto = np.clip(tile.inward + np.float32(0.5), 0, 1)
    belt = noise(rng, height, width, 2) * np.float32(0.012)
    planes = []
    for channel in range(3):
        face = ink * DECORATION[channel]
        face += GLAZE[channel]
        face *= shade
        face -= belt
        face -= BELT[channel]
        face *= onto
        face += belt
        face += BELT[channel]
        planes.append(face)
    return Surface(picture=np.asarray(cv2.merge(planes), dtype=np.float32), layout=tile)


def crack(surface: Surface[Tile], rng: Rng) -> Stroke:
    """Jagged and from the rim when it dried too fast; smooth, fine and inside when it cooled too fast."""
    tile = surface.layout
    is_from_drying = rng.random() < 0.5
    shorter = min(tile.half_x, tile.half_y)
    if is_from_drying:
        length = min(between(rng, 60, 210), 0.8 * shorter)
        x, y, inward_angle = _on_rim(tile, rng)
        angle = inward_angle + math.radians(between(rng, -32, 32))
        points = path(rng, 0, 0, angle, length, jitter=2.2)
        points += np.array([x, y]) - points[0]
        branch = path(rng, 0, 0, angle + math.radians(between(rng, 25, 50)), 0.35 * length, jitter=1.6)
        branch += points[int(rng.integers(2, len(points) - 2))] - branch[0]
        strength, width_px = np.linspace(1, 0.35, len(points)), between(rng, 2.2, 3.6)
    else:
        length = min(between(rng, 70, 300), 1.1 * shorter)
        x, y = tile.place(between(rng, -0.4, 0.4), between(rng, -0.4, 0.4))
        bend = between(rng, 0.03, 0.24) * length * (1 if rng.random() < 0.5 else -1)
        points = path(rng, x, y, between(rng, 0, math.pi), length, bend=bend, jitter=0.55)
        branch = points[:1]  # none
        strength, width_px = fading(rng, len(points), 0.65), between(rng, 1.8, 2.4)
    window = window_around(np.concatenate([points, branch]), 10, tile.height, tile.width)
    gap = line_coverage(window, points, width_px, strength)
    fork = line_coverage(window, branch, 0.7 * width_px, np.linspace(0.8, 0.2, len(branch)))
    gap = np.maximum(gap, fork)
    gap *= np.clip(_inward(tile, window), 0, 1)
    lit_edge = np.roll(gap, (1, 1), axis=(0, 1)) * np.float32(0.07)
    depth = between(rng, 0.5, 0.8) if is_from_drying else between(rng, 0.3, 0.55)
    below = shaded(window.cut(surface.picture), lit_edge)
    picture = mixed(below, below * np.float32(1 - depth) * np.array([1.0, 0.93, 0.86], np.float32), gap)
    step = "drying" if is_from_drying else "firing"
    return Stroke(window=window, picture=picture, coverage=gap * np.float32(1.6), step=step, shape="line")


def edge_chip(surface: Surface[Tile], rng: Rng) -> Stroke:
    """A shell-shaped break at the rim that shows the red-brown body."""
    tile = surface.layout
    x, y, inward_angle = _on_rim(tile, rng)
    along, deep = between(rng, 9, 34), between(rng, 6, 19)
    window = window_at(x, y, 1.6 * along + 6, 1.6 * along + 6, tile.height, tile.width)
    distance = blob_distance(rng, window, x, y, deep, along, angle=inward_angle, roughness=0.1)
    ragged = distance + np.float32(0.07) * noise(rng, *window.shape, 3)
    chip = soft_inside(ragged, 0.16) * np.clip(_inward(tile, window) + np.float32(0.5), 0, 1)
    # Deeper toward the rim: where nearly all of the thickness is gone, the belt shows through.
    fractured = BODY * (np.float32(0.8) + np.float32(0.1) * noise(rng, *window.shape, 3))[:, :, None]
    flank = np.clip(ragged, 0, 1)[:, :, None]
    above = fractured * (np.float32(0.55) + np.float32(0.5) * flank)
    lip = np.exp(-(((ragged - 1.02) / 0.09) ** 2)) * np.clip(_inward(tile, window), 0, 1) * np.float32(0.1)
    below = shaded(window.cut(surface.picture), np.asarray(lip, dtype=np.float32))
    picture = mixed(below, np.asarray(above, dtype=np.float32), chip)
    return Stroke(window=window, picture=picture, coverage=chip, step="sorting", shape="edge")


def pinhole(surface: Surface[Tile], rng: Rng) -> Stroke:
    """A burst gas bubble: a small dark crater with a raised bright rim."""
    tile = surface.layout
    x, y = _on_face(tile, rng)
    radius = between(rng, 3.2, 5.6)
    window = window_at(x, y, 3.5 * radius, 3.5 * radius, tile.height, tile.width)
    distance = blob_distance(rng, window, x, y, radius, radius, roughness=0.05)
    grid_x, grid_y = window.grid()
    toward_light = np.float32(0.5) - ((grid_x - x) + (grid_y - y)) / np.float32(4.4 * radius)
    rim = np.exp(-(((distance - 1.22) / 0.26) ** 2)) * toward_light * np.float32(0.26)
    crater = soft_inside(distance, 0.55) * np.float32(between(rng, 0.45, 0.75))
    picture = shaded(window.cut(surface.picture), np.asarray(rim - crater, dtype=np.float32))
    coverage = soft_inside(distance / np.float32(1.3), 0.3)
    return Stroke(window=window, picture=picture, coverage=coverage, step="firing", shape="spot")


def iron_speck(surface: Surface[Tile], rng: Rng) -> Stroke:
    """Iron in the clay: a black dot that bled a rusty halo into the glaze, without any relief."""
    tile = surface.layout
    x, y = _on_face(tile, rng)
    core, halo = between(rng, 1.8, 3.6), between(rng, 6, 13)
    window = window_at(x, y, 2.2 * halo, 2.2 * halo, tile.height, tile.width)
    spread = blob_distance(rng, window, x, y, halo, halo, roughness=0.14)
    rust = np.exp(-(spread**2) * np.float32(1.6)) * np.float32(between(rng, 0.4, 0.7))
    below = window.cut(surface.picture)
    rusty = mixed(below, below * np.array([0.78, 0.52, 0.3], np.float32), rust)
    dot = soft_inside(blob_distance(rng, window, x, y, core, core, roughness=0.2), 0.7)
    picture = mixed(rusty, np.array([0.12, 0.08, 0.06], np.float32), dot * np.float32(0.9))
    coverage = (spread < 0.9).astype(np.float32)
    return Stroke(
        window=window, picture=picture, coverage=coverage, step="pressing", shape=spot_or_blob(1.8 * halo)
    )


def crawling(surface: Surface[Tile], rng: Rng) -> Stroke:
    """Glaze that drew back: a bare, matt, warm patch with a thick rounded glaze border."""
    tile = surface.layout
    x, y = _on_face(tile, rng, reach=0.8)
    radius_x, radius_y = between(rng, 9, 30), between(rng, 8, 24)
    window = window_at(x, y, 1.7 * radius_x + 6, 1.7 * radius_y + 6, tile.height, tile.width)
    turn = between(rng, 0, math.pi)
    distance = blob_distance(rng, window, x, y, radius_x, radius_y, angle=turn, roughness=0.2)
    bare = soft_inside(distance, 0.14)
    matt = (np.float32(0.98) + np.float32(0.05) * noise(rng, *window.shape, 1.6))[:, :, None] * BODY
    grid_x, grid_y = window.grid()
    toward_light = -((grid_x - x) / np.float32(radius_x) + (grid_y - y) / np.float32(radius_y))
    border = np.exp(-(((distance - 1.14) / 0.1) ** 2)) * np.clip(toward_light, -1, 1) * np.float32(-0.13)
    below = shaded(window.cut(surface.picture), np.asarray(border, dtype=np.float32))
    picture = mixed(below, np.asarray(matt, dtype=np.float32), bare * np.float32(between(rng, 0.6, 0.95)))
    return Stroke(window=window, picture=picture, coverage=bare, step="glazing", shape="patch")


def glaze_drop(surface: Surface[Tile], rng: Rng) -> Stroke:
    """A raised drop of glaze: bright where it faces the light, dark behind, one sharp glint."""
    tile = surface.layout
    x, y = _on_face(tile, rng, reach=0.85)
    radius_x, radius_y = between(rng, 8, 21), between(rng, 8, 21)
    window = window_at(x, y, 1.8 * radius_x, 1.8 * radius_y, tile.height, tile.width)
    distance = blob_distance(rng, window, x, y, radius_x, radius_y, roughness=0.06)
    inside = soft_inside(distance, 0.3)
    grid_x, grid_y = window.grid()
    u, v = (grid_x - x) / np.float32(radius_x), (grid_y - y) / np.float32(radius_y)
    facing = -(u + v) * np.float32(between(rng, 0.11, 0.19)) * distance * inside
    foot = np.exp(-(((distance - 1.06) / 0.1) ** 2)) * np.float32(-0.1) * (u + v > -0.3)
    glint = np.exp(-((u + 0.36) ** 2 + (v + 0.36) ** 2) * np.float32(26)) * np.float32(between(rng, 0.2, 0.3))
    change = facing + foot + glint + np.float32(0.03) * inside
    picture = shaded(window.cut(surface.picture), np.asarray(change, dtype=np.float32))
    return Stroke(window=window, picture=picture, coverage=inside, step="glazing", shape="blob")


def print_streak(surface: Surface[Tile], rng: Rng) -> Stroke:
    """A dead or leaking nozzle: one straight line along the travel, without decoration or with too much."""
    tile = surface.layout
    along = between(rng, -0.85, 0.85)
    first = between(rng, -0.98, 0.2)
    last = min(first + between(rng, 0.35, 1.6), 0.98)
    start, end = tile.place(along, first), tile.place(along, last)
    points = np.linspace(start, end, 8)
    window = window_around(points, 6, tile.height, tile.width)
    streak = line_coverage(window, points, between(rng, 2.2, 3.8), fading(rng, len(points), 0.75))
    below = window.cut(surface.picture)
    if rng.random() < 0.5:
        above = below * np.float32(0.2) + (GLAZE * np.float32(1.12)) * np.float32(0.8)
    else:
        above = below + DECORATION * np.float32(between(rng, 0.7, 1.2)) * np.array(
            [1.3, 0.9, 0.5], np.float32
        )
    picture = mixed(below, np.asarray(above, dtype=np.float32), streak)
    return Stroke(window=window, picture=picture, coverage=streak, step="decoration", shape="line")


def _lay(rng: Rng, height: int, width: int) -> Tile:
    half_x, half_y = 0.455 * width, 0.455 * height
    x = width / 2 + between(rng, -0.018, 0.018) * width
    y = height / 2 + between(rng, -0.018, 0.018) * height
    angle = math.radians(between(rng, -1.2, 1.2))
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    grid_x = np.arange(width, dtype=np.float32)[None, :] - np.float32(x)
    grid_y = np.arange(height, dtype=np.float32)[:, None] - np.float32(y)
    from_left_right = np.float32(half_x) - np.abs(grid_x * cos + grid_y * sin)
    from_top_bottom = np.float32(half_y) - np.abs(grid_y * cos - grid_x * sin)
    return Tile(
        height=height,
        width=width,
        x=x,
        y=y,
        half_x=half_x,
        half_y=half_y,
        angle=angle,
        inward=np.minimum(from_left_right, from_top_bottom),
    )


def _rim_light(tile: Tile) -> Field:
    """The rounded rim is lit from the upper left: bright there, dark on the far sides."""
    slope_x = np.sign(np.arange(tile.width, dtype=np.float32) - np.float32(tile.x))[None, :]
    slope_y = np.sign(np.arange(tile.height, dtype=np.float32) - np.float32(tile.y))[:, None]
    return np.asarray((slope_x + slope_y) * np.float32(-0.09) - np.float32(0.14), dtype=np.float32)


def _inward(tile: Tile, window: Window) -> Field:
    return tile.inward[window.top : window.bottom, window.left : window.right]


def _on_face(tile: Tile, rng: Rng, reach: float = 0.92) -> tuple[float, float]:
    return tile.place(between(rng, -reach, reach), between(rng, -reach, reach))


def _on_rim(tile: Tile, rng: Rng) -> tuple[float, float, float]:
    """A point of the rim, and the angle that leads from it into the tile."""
    along, side = between(rng, -0.88, 0.88), int(rng.integers(4))
    place = ((-1.0, along), (along, -1.0), (1.0, along), (along, 1.0))[side]
    x, y = tile.place(*place)
    return x, y, tile.angle + side * math.pi / 2


RECIPE = LineRecipe(
    product="ceramic-tile",
    paint=paint,
    defects=MappingProxyType(
        {
            "crack": crack,
            "edge-chip": edge_chip,
            "pinhole": pinhole,
            "iron-speck": iron_speck,
            "crawling": crawling,
            "glaze-drop": glaze_drop,
            "print-streak": print_streak,
        }
    ),
    camera=Camera(gain=(0.9, 1.08), gradient=0.06, vignette=0.06, grain=0.01, dust_is_dark=0.8),
)
