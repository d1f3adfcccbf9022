"""Brushed metal: a grey strip, brushed along its length, under a line light."""

import math
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np

from pipelines.learn.surfaces import (
    Camera,
    LineRecipe,
    Rng,
    Stroke,
    Surface,
    anywhere,
    between,
    blob_distance,
    fading,
    line_coverage,
    mixed,
    noise,
    path,
    shaded,
    soft_inside,
    window_around,
    window_at,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """How the strip lies under the camera; it runs from left to right."""

    angle: float  # of the rolling direction, radians
    height: int
    width: int


def paint(rng: Rng, height: int, width: int) -> Surface[Strip]:
    """Streaks of several lengths along the strip, and faint broad bands."""
    angle = math.radians(between(rng, -0.7, 0.7))
    pad = math.ceil(0.02 * max(height, width)) + 4
    rows, columns = height + 2 * pad, width + 2 * pad
    texture = noise(rng, rows, columns, 1, 150) * np.float32(0.026)
    texture += noise(rng, rows, columns, 1.6, 42) * np.float32(0.026)
    texture += noise(rng, rows, columns, 1, 9) * np.float32(0.016)
    texture += noise(rng, rows, columns, 22, 900) * np.float32(0.014)
    texture += np.float32(between(rng, 0.5, 0.6))
    turn = cv2.getRotationMatrix2D((columns / 2, rows / 2), -math.degrees(angle), 1.0)
    turned = cv2.warpAffine(
        texture, turn, (columns, rows), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    picture = np.ascontiguousarray(turned[pad : pad + height, pad : pad + width], dtype=np.float32)
    return Surface(picture=picture, layout=Strip(angle=angle, height=height, width=width))


def scratch(surface: Surface[Strip], rng: Rng) -> Stroke:
    """Bright groove with a dark lip: along the strip from the rolls, across it from stacking."""
    strip = surface.layout
    x, y = anywhere(rng, strip.height, strip.width)
    is_from_rolling = rng.random() < 0.55
    if is_from_rolling:
        angle = strip.angle + math.radians(between(rng, -1.2, 1.2))
        length = min(between(rng, 110, 420), 0.9 * strip.width)
        points = path(rng, x, y, angle, length)
    else:
        angle = strip.angle + math.radians(between(rng, 28, 152))
        length = min(between(rng, 48, 240), 0.9 * min(strip.height, strip.width))
        points = path(rng, x, y, angle, length, bend=between(rng, -9, 9), jitter=0.25)
    groove_px = between(rng, 2.0, 3.4)
    window = window_around(points, 8, strip.height, strip.width)
    strength = fading(rng, len(points))
    groove = line_coverage(window, points, groove_px, strength)
    side = groove_px * (1 if rng.random() < 0.5 else -1)
    offset = np.array([-math.sin(angle), math.cos(angle)]) * side * 0.9
    lip = line_coverage(window, points + offset, groove_px * 0.8, strength)
    depth = between(rng, 0.2, 0.48)
    below = window.cut(surface.picture)
    picture = shaded(below, np.float32(depth) * groove - np.float32(0.6 * depth) * lip)
    step = "cold-rolling" if is_from_rolling else "stacking"
    coverage = np.maximum(groove, np.float32(0.8) * lip) * np.float32(2)
    return Stroke(window=window, picture=picture, coverage=coverage, step=step, shape="line")


def dent(surface: Surface[Strip], rng: Rng) -> Stroke:
    """A shallow hollow: one flank turns to the light, the other away from it."""
    strip = surface.layout
    x, y = anywhere(rng, strip.height, strip.width)
    radius_x, radius_y = between(rng, 9, 26), between(rng, 9, 22)
    window = window_at(x, y, 3 * radius_x, 3 * radius_y, strip.height, strip.width)
    grid_x, grid_y = window.grid()
    u, v = (grid_x - x) / np.float32(radius_x), (grid_y - y) / np.float32(radius_y)
    bell = np.exp(-(u * u + v * v) / 2)
    toward = between(rng, -0.5, 0.5) + (math.pi / 2 if rng.random() < 0.5 else -math.pi / 2)
    slope = (u * np.float32(math.cos(toward)) + v * np.float32(math.sin(toward))) * bell
    change = np.float32(between(rng, 0.3, 0.62)) * slope - np.float32(0.05) * bell
    picture = shaded(window.cut(surface.picture), np.asarray(change, dtype=np.float32))
    coverage = (bell > 0.15).astype(np.float32)
    return Stroke(window=window, picture=picture, coverage=coverage, step="stacking", shape="blob")


def pit(surface: Surface[Strip], rng: Rng) -> Stroke:
    """One to five small dark holes, each with a bright lower rim."""
    strip = surface.layout
    x, y = anywhere(rng, strip.height, strip.width)
    count = 1 if rng.random() < 0.5 else int(rng.integers(2, 6))
    reach = 10 if count == 1 else 34
    window = window_at(x, y, reach + 8, reach + 8, strip.height, strip.width)
    picture = window.cut(surface.picture)
    coverage = np.zeros(window.shape, np.float32)
    depth = between(rng, 0.35, 0.65)
    for index in range(count):
        hole_x = x if index == 0 else x + between(rng, -reach, reach)
        hole_y = y if index == 0 else y + between(rng, -reach, reach)
        radius = between(rng, 3.2, 5.2)
        distance = blob_distance(rng, window, hole_x, hole_y, radius, radius, roughness=0.1)
        hole = soft_inside(distance, 0.6)
        _, grid_y = window.grid()
        rim = np.exp(-(((distance - 1.2) / 0.22) ** 2)) * (grid_y > hole_y)
        picture = shaded(
            picture, np.float32(-depth) * hole + np.asarray(np.float32(0.22) * rim, dtype=np.float32)
        )
        coverage = np.maximum(coverage, hole)
    return Stroke(window=window, picture=picture, coverage=coverage, step="pickling", shape="spot")


def stain(surface: Surface[Strip], rng: Rng) -> Stroke:
    """A dried drop: a little darker inside, darkest at its outline, the brushing still visible."""
    strip = surface.layout
    x, y = anywhere(rng, strip.height, strip.width)
    radius_x, radius_y = between(rng, 18, 62), between(rng, 14, 40)
    window = window_at(x, y, 1.6 * radius_x, 1.6 * radius_y, strip.height, strip.width)
    distance = blob_distance(rng, window, x, y, radius_x, radius_y, roughness=0.16)
    inside = soft_inside(distance, 0.16)
    outline = np.exp(-(((distance - 0.95) / 0.07) ** 2))
    uneven = 1 + np.float32(0.25) * noise(rng, *window.shape, 14)
    depth = np.float32(between(rng, 0.09, 0.19))
    change = -depth * inside * uneven - np.float32(between(rng, 0.05, 0.16)) * outline
    picture = shaded(window.cut(surface.picture), change)
    return Stroke(window=window, picture=picture, coverage=inside, step="rinsing", shape="patch")


def scale(surface: Surface[Strip], rng: Rng) -> Stroke:
    """Rolled-in scale: a ragged dark sliver stretched along the strip, dull where the brush missed it."""
    strip = surface.layout
    x, y = anywhere(rng, strip.height, strip.width)
    length, breadth = between(rng, 16, 52), between(rng, 3.5, 8)
    window = window_at(x, y, 1.7 * length, 2.5 * breadth + 6, strip.height, strip.width)
    distance = blob_distance(rng, window, x, y, length, breadth, angle=strip.angle, roughness=0.2)
    ragged = distance + np.float32(0.16) * noise(rng, *window.shape, 2.5, 14)
    inside = soft_inside(ragged, 0.35)
    depth = between(rng, 0.35, 0.62)
    below = window.cut(surface.picture)
    dull = np.float32(0.56 * (1 - depth)) * (1 + np.float32(0.14) * noise(rng, *window.shape, 2, 4))
    picture = mixed(below, dull, inside * np.float32(0.92))
    return Stroke(window=window, picture=picture, coverage=inside, step="hot-rolling", shape="blob")


def chatter(surface: Surface[Strip], rng: Rng) -> Stroke:
    """Even ripples across the strip where the brush jumped."""
    strip = surface.layout
    x, y = anywhere(rng, strip.height, strip.width)
    reach_x = min(between(rng, 45, 120), 0.45 * strip.width)
    reach_y = min(between(rng, 26, 80), 0.45 * strip.height)
    window = window_at(x, y, 1.3 * reach_x, 1.3 * reach_y, strip.height, strip.width)
    grid_x, grid_y = window.grid()
    u, v = (grid_x - x) / np.float32(reach_x), (grid_y - y) / np.float32(reach_y)
    ragged = np.sqrt(np.sqrt(u**4 + v**4)) + np.float32(0.1) * noise(rng, *window.shape, 24)
    envelope = soft_inside(ragged, 0.7)
    period, phase = between(rng, 8, 15), between(rng, 0, 2 * math.pi)
    along = grid_x + np.float32(between(rng, -0.06, 0.06)) * grid_y
    ripple = np.sin(along * np.float32(2 * math.pi / period) + np.float32(phase))
    picture = shaded(window.cut(surface.picture), np.float32(between(rng, 0.08, 0.16)) * ripple * envelope)
    coverage = (envelope > 0.4).astype(np.float32)
    return Stroke(window=window, picture=picture, coverage=coverage, step="brushing", shape="patch")


RECIPE = LineRecipe(
    product="brushed-metal",
    paint=paint,
    defects=MappingProxyType(
        {"scratch": scratch, "dent": dent, "pit": pit, "stain": stain, "scale": scale, "chatter": chatter}
    ),
    camera=Camera(gain=(0.88, 1.12), gradient=0.1, vignette=0.08, grain=0.014),
)
