"""Woven fabric: a grey plain weave under diffuse light; warp threads run down, weft threads across."""

import math
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np

from pipelines.learn.surfaces import (
    Camera,
    Field,
    LineRecipe,
    Picture,
    Rng,
    Stroke,
    Surface,
    Window,
    anywhere,
    bent,
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

WARP_PITCH_PX, WEFT_PITCH_PX = 7.4, 8.6
TILE_PX = 16  # pixels per thread in the weave tile


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weave:
    """Where every thread runs: ``warp`` and ``weft`` count threads, whole numbers lie between two of them."""

    height: int
    width: int
    warp: Field
    weft: Field
    warp_on_top: Field  # 1 where the warp thread covers the weft thread


def paint(rng: Rng, height: int, width: int) -> Surface[Weave]:
    """Threads of uneven brightness that wander a little, crossing over and under."""
    angle = math.radians(between(rng, -1.2, 1.2))
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.arange(width, dtype=np.float32)[None, :]
    cos, sin = math.cos(angle), math.sin(angle)
    warp = np.float32(cos / WARP_PITCH_PX) * x + np.float32(sin / WARP_PITCH_PX) * y
    weft = np.float32(-sin / WEFT_PITCH_PX) * x + np.float32(cos / WEFT_PITCH_PX) * y
    warp += noise(rng, height, width, 90, 34) * np.float32(0.1) + np.float32(between(rng, 40, 42))
    weft += noise(rng, height, width, 34, 90) * np.float32(0.1) + np.float32(between(rng, 40, 42))
    tile = cv2.remap(
        _weave_tile(),
        warp * TILE_PX - 0.5,
        weft * TILE_PX - 0.5,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )
    picture, on_top = (np.asarray(layer, dtype=np.float32) for layer in cv2.split(tile))
    warp_gain = _thread_gain(rng, warp, np.broadcast_to(y / np.float32(70), warp.shape))
    weft_gain = _thread_gain(rng, weft, np.broadcast_to(x / np.float32(70), weft.shape))
    warp_gain -= weft_gain
    warp_gain *= on_top
    warp_gain += weft_gain
    picture *= warp_gain
    picture *= noise(rng, height, width, 2, 2) * np.float32(0.03) + np.float32(between(rng, 0.96, 1.06))
    layout = Weave(height=height, width=width, warp=warp, weft=weft, warp_on_top=on_top)
    return Surface(picture=picture, layout=layout)


def missing_thread(surface: Surface[Weave], rng: Rng) -> Stroke:
    """A gap one thread wide: down the cloth if an end broke in warping, across if a pick failed."""
    weave = surface.layout
    x, y = anywhere(rng, weave.height, weave.width)
    is_warp = rng.random() < 0.5
    reach = between(rng, 34, 190)
    window = window_at(x, y, 16 if is_warp else reach, reach if is_warp else 16, weave.height, weave.width)
    own, aside = _thread(weave, window, x, y, is_warp)
    gap = np.clip(np.float32(1.5) - np.abs(aside) * np.float32(2.6), 0, 1)
    along = window.grid()[1] - y if is_warp else window.grid()[0] - x
    gap = gap * np.clip((np.float32(reach) - np.abs(along)) / np.float32(5), 0, 1)
    # The neighbours close up a little, and the thread that would have been crossed lies bare and straight.
    crossing = window.cut(weave.warp_on_top) if is_warp else 1 - window.cut(weave.warp_on_top)
    depth = np.float32(between(rng, 0.42, 0.66))
    change = -gap * (depth * (np.float32(0.35) + np.float32(0.65) * crossing))
    flank = np.exp(-(((np.abs(aside) - 1.0) / 0.3) ** 2)) * np.float32(0.07) * (gap.max() > 0)
    flank = flank * np.clip((np.float32(reach) - np.abs(along)) / np.float32(9), 0, 1)
    picture = shaded(window.cut(surface.picture), np.asarray(change + flank, dtype=np.float32))
    step = "warping" if is_warp else "weaving"
    return Stroke(window=window, picture=picture, coverage=gap + 0 * own, step=step, shape="line")


def slub(surface: Surface[Weave], rng: Rng) -> Stroke:
    """A thick place in one weft thread: a bright spindle that hides the crossings."""
    weave = surface.layout
    x, y = anywhere(rng, weave.height, weave.width)
    reach = between(rng, 17, 46)
    window = window_at(x, y, 1.2 * reach, 22, weave.height, weave.width)
    _, aside = _thread(weave, window, x, y, is_warp=False)
    along = (window.grid()[0] - x) / np.float32(reach)
    thickness = np.float32(between(rng, 0.75, 1.15)) * np.sqrt(np.clip(1 - along * along, 0.0, 1))
    thickness = thickness * (1 + np.float32(0.12) * noise(rng, *window.shape, 40, 6))
    across = aside / np.maximum(thickness, np.float32(0.05))
    body = np.clip((np.float32(1.1) - np.abs(across)) * 4, 0, 1)
    roundness = np.sqrt(np.clip(1 - across * across, 0, 1))
    fibre = 1 + np.float32(0.1) * noise(rng, *window.shape, 1.2, 8)
    above = (np.float32(0.36) + np.float32(between(rng, 0.27, 0.42)) * roundness) * fibre
    shadow = np.exp(-(((across - 1.35) / 0.35) ** 2)) * np.float32(0.16) * (thickness > 0.2)
    below = shaded(window.cut(surface.picture), -np.asarray(shadow, dtype=np.float32))
    picture = mixed(below, np.asarray(above, dtype=np.float32), body)
    return Stroke(window=window, picture=picture, coverage=body, step="spinning", shape="blob")


def knot(surface: Surface[Weave], rng: Rng) -> Stroke:
    """A small bright dome with a shadow below it and two short tails."""
    weave = surface.layout
    x, y = anywhere(rng, weave.height, weave.width)
    radius = between(rng, 4.2, 7.5)
    window = window_at(x, y, 30, 30, weave.height, weave.width)
    distance = blob_distance(rng, window, x, y, radius, 0.85 * radius, roughness=0.1)
    dome = soft_inside(distance, 0.4)
    shadow = soft_inside(blob_distance(rng, window, x + 2.0, y + 3.4, radius, radius, roughness=0.05), 1.0)
    picture = shaded(window.cut(surface.picture), np.float32(-0.3) * shadow)
    tails = np.zeros(window.shape, np.float32)
    for _ in range(2):
        points = path(rng, 0, 0, between(rng, 0, 2 * math.pi), between(rng, 12, 22), bend=between(rng, -4, 4))
        points += np.array([x, y]) - points[0]
        tails = np.maximum(tails, line_coverage(window, points, 1.9, fading(rng, len(points), 0.7)))
    picture = mixed(picture, np.full(window.shape, 0.7, np.float32), tails * np.float32(0.8))
    grid_x, grid_y = window.grid()
    facing = np.float32(0.72) - ((grid_x - x) + (grid_y - y)) * np.float32(0.1 / radius)
    twist = np.sin((grid_x - x + grid_y - y) * np.float32(1.5)) * np.float32(0.05)
    picture = mixed(picture, np.asarray(facing + twist, dtype=np.float32), dome)
    return Stroke(
        window=window, picture=picture, coverage=np.maximum(dome, tails), step="warping", shape="spot"
    )  # fmt: skip


def hole(surface: Surface[Weave], rng: Rng) -> Stroke:
    """A dark opening with frayed ends; the threads around it are pushed aside."""
    weave = surface.layout
    x, y = anywhere(rng, weave.height, weave.width)
    radius_x, radius_y = between(rng, 6, 17), between(rng, 7, 19)
    window = window_at(x, y, 2.8 * radius_x + 4, 2.8 * radius_y + 4, weave.height, weave.width)
    distance = blob_distance(rng, window, x, y, radius_x, radius_y, roughness=0.1)
    grid_x, grid_y = window.grid()
    push = np.float32(0.42) * np.exp(-((distance / 1.15) ** 2))
    below = bent(window.cut(surface.picture), -(grid_x - x) * push, -(grid_y - y) * push)
    ragged = distance + np.float32(0.17) * noise(rng, *window.shape, 2, 2)
    opening = soft_inside(ragged, 0.3)
    dark = np.float32(between(rng, 0.05, 0.11)) + np.float32(0.02) * noise(rng, *window.shape, 4)
    picture = mixed(below, dark, opening)
    for _ in range(int(rng.integers(2, 6))):
        angle = between(rng, 0, 2 * math.pi)
        points = path(rng, 0, 0, angle + math.pi, between(rng, 0.5, 1.1) * radius_x, bend=between(rng, -3, 3))
        points += np.array([x + math.cos(angle) * radius_x, y + math.sin(angle) * radius_y]) - points[0]
        fray = line_coverage(window, points, between(rng, 1.0, 1.9), fading(rng, len(points), 0.6))
        picture = mixed(picture, np.full(window.shape, between(rng, 0.42, 0.62), np.float32), fray)
    coverage = np.maximum(opening, soft_inside(distance / np.float32(1.35), 0.3))
    return Stroke(window=window, picture=picture, coverage=coverage, step="finishing", shape="blob")


def oil_stain(surface: Surface[Weave], rng: Rng) -> Stroke:
    """A dark soaked patch with a soft edge that creeps along the threads; the weave stays visible."""
    weave = surface.layout
    x, y = anywhere(rng, weave.height, weave.width)
    return _soaked(surface, rng, x, y, -between(rng, 0.2, 0.42), step="weaving")


def pale_patch(surface: Surface[Weave], rng: Rng) -> Stroke:
    """A patch that took less dye: brighter, with the weave intact."""
    weave = surface.layout
    x, y = anywhere(rng, weave.height, weave.width)
    return _soaked(surface, rng, x, y, between(rng, 0.16, 0.34), step="dyeing")


def crease(surface: Surface[Weave], rng: Rng) -> Stroke:
    """A pressed fold: a long bright ridge beside a long dark valley."""
    weave = surface.layout
    x, y = anywhere(rng, weave.height, weave.width)
    angle = math.radians(between(rng, 15, 165))
    length = min(between(rng, 130, 480), 0.9 * min(weave.height, weave.width))
    points = path(rng, x, y, angle, length, bend=between(rng, -16, 16))
    window = window_around(points, 22, weave.height, weave.width)
    breadth = between(rng, 4, 7)
    offset = np.array([-math.sin(angle), math.cos(angle)]) * breadth
    strength = fading(rng, len(points), 0.7)
    ridge = cv2.GaussianBlur(line_coverage(window, points, breadth, strength), (0, 0), breadth / 3.5)
    valley = cv2.GaussianBlur(line_coverage(window, points + offset, breadth, strength), (0, 0), breadth / 3)
    depth = np.float32(between(rng, 0.2, 0.36))
    picture = shaded(
        window.cut(surface.picture), np.asarray(depth * ridge - depth * valley, dtype=np.float32)
    )
    # Ridge and valley cancel in between; the maximum of both keeps the mark in one piece.
    coverage = np.asarray(np.maximum(ridge, valley) * 2, dtype=np.float32)
    return Stroke(window=window, picture=picture, coverage=coverage, step="winding", shape="line")


def _soaked(surface: Surface[Weave], rng: Rng, x: float, y: float, change: float, *, step: str) -> Stroke:
    weave = surface.layout
    radius_x, radius_y = between(rng, 13, 48), between(rng, 13, 44)
    window = window_at(x, y, 1.8 * radius_x, 1.8 * radius_y, weave.height, weave.width)
    distance = blob_distance(rng, window, x, y, radius_x, radius_y, roughness=0.14)
    creeping = noise(rng, *window.shape, 4, 18) + noise(rng, *window.shape, 18, 4)
    inside = soft_inside(distance + np.float32(0.06) * creeping, 0.55)
    uneven = 1 + np.float32(0.12) * noise(rng, *window.shape, 11)
    picture = shaded(
        window.cut(surface.picture), np.asarray(np.float32(change) * inside * uneven, np.float32)
    )
    return Stroke(window=window, picture=picture, coverage=inside, step=step, shape="patch")


def _thread(weave: Weave, window: Window, x: float, y: float, is_warp: bool) -> tuple[Field, Field]:
    """The thread count under the window, and the distance in threads from the middle of the one at (x, y)."""
    count = weave.warp if is_warp else weave.weft
    own = window.cut(count)
    here = float(count[min(int(y), weave.height - 1), min(int(x), weave.width - 1)])
    return own, np.asarray(own - np.float32(math.floor(here) + 0.5), dtype=np.float32)


def _weave_tile() -> Picture:
    """Two by two threads: brightness, and 1 where the warp is on top."""
    middle = (np.arange(2 * TILE_PX, dtype=np.float32) + 0.5) / TILE_PX
    inside = middle % 1 - 0.5
    rounded = np.sqrt(np.clip(1 - (inside / 0.56) ** 2, 0, 1))
    arched = np.cos(inside * np.float32(math.pi * 0.9))
    parity = np.floor(middle)[:, None] + np.floor(middle)[None, :]
    warp_on_top = (parity % 2 == 0).astype(np.float32)
    warp = np.float32(0.16) + np.float32(0.5) * rounded[None, :] * (0.45 + 0.55 * arched[:, None])
    weft = np.float32(0.14) + np.float32(0.44) * rounded[:, None] * (0.45 + 0.55 * arched[None, :])
    brightness = np.where(warp_on_top > 0, warp, weft)
    return np.asarray(np.stack([brightness, warp_on_top], axis=2), dtype=np.float32)


def _thread_gain(rng: Rng, thread: Field, along: Field) -> Field:
    """Brightness of each thread, slowly changing along it."""
    first = float(thread.min()) - 2
    columns = int(float(thread.max()) - first) + 4
    rows = int(float(along.max())) + 3
    table = 1 + rng.standard_normal((1, columns), dtype=np.float32) * np.float32(0.035)
    table = table + rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(0.045)
    gain = cv2.remap(table, thread - np.float32(first + 0.5), along, cv2.INTER_LINEAR)
    return np.asarray(gain, dtype=np.float32)


RECIPE = LineRecipe(
    product="woven-fabric",
    paint=paint,
    defects=MappingProxyType(
        {
            "missing-thread": missing_thread,
            "slub": slub,
            "knot": knot,
            "hole": hole,
            "oil-stain": oil_stain,
            "pale-patch": pale_patch,
            "crease": crease,
        }
    ),
    camera=Camera(gain=(0.88, 1.1), gradient=0.07, vignette=0.06, grain=0.013, dust_is_dark=0.4),
)
