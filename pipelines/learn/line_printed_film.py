"""Printed film: packaging film with a four-ink repeat, running from top to bottom, in colour."""

import math
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.learn.film_design import BLACK, CYAN, MAGENTA, REPEAT_HEIGHT, REPEAT_WIDTH, plates
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
    in_colour,
    line_coverage,
    noise,
    path,
    seek,
    shaded,
    soft_inside,
    spot_or_blob,
    window_around,
    window_at,
)

# How strongly each ink (row of the transposed table) takes away red, green and blue.
ABSORPTION = np.array([[1.65, 0.16, 0.1, 1.75], [0.42, 1.55, 0.08, 1.75], [0.1, 0.5, 1.6, 1.7]], np.float32)
BARE_FILM = np.array([0.86, 0.86, 0.84], np.float32)

Inks = NDArray[np.float32]  # (height, width, 4): how much of each ink lies there, 0 to about 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Print:
    """What was printed under the camera, before gloss."""

    height: int
    width: int
    repeat: Inks  # one repeat of the design with this frame's register and ink density
    repeat_x: Field  # where in the repeat each pixel of the frame lies
    repeat_y: Field

    def inks(self, window: Window) -> Inks:
        """The inks under a window; worked out only where a defect needs them."""
        map_x, map_y = window.cut(self.repeat_x), window.cut(self.repeat_y)
        return _repeated(self.repeat, map_x, map_y)


def paint(rng: Rng, height: int, width: int) -> Surface[Print]:
    """The repeat at any phase along the web, every ink a little out of register, mottle and soft gloss."""
    angle = math.radians(between(rng, -0.6, 0.6))
    cos, sin = math.cos(angle), math.sin(angle)
    x = np.arange(width, dtype=np.float32)[None, :]
    y = np.arange(height, dtype=np.float32)[:, None]
    map_x = np.float32(cos) * x + np.float32(sin) * y
    map_x += np.float32(4 * REPEAT_WIDTH + between(rng, -7, 7))
    map_y = np.float32(-sin) * x + np.float32(cos) * y
    map_y += np.float32(4 * REPEAT_HEIGHT + between(rng, 0, REPEAT_HEIGHT))
    shifted = [_shifted(plate, *rng.normal(0, 0.35, 2)) for plate in plates()]
    repeat = np.asarray(cv2.merge(shifted) * rng.uniform(0.93, 1.06, 4), dtype=np.float32)
    picture = _repeated(_developed(repeat), map_x, map_y)
    # Mottle: ink of uneven thickness, so bare film shows none of it.
    picture -= BARE_FILM
    picture *= in_colour(noise(rng, height, width, 2.6) * np.float32(0.03) + np.float32(1))
    gloss = noise(rng, height, width, 900, 90) * np.float32(0.012)
    picture += BARE_FILM
    picture += in_colour(gloss)
    layout = Print(height=height, width=width, repeat=repeat, repeat_x=map_x, repeat_y=map_y)
    return Surface(picture=picture, layout=layout)


def ink_void(surface: Surface[Print], rng: Rng) -> Stroke:
    """Ink that did not wet the film: a round bare place with a thin darker border of pushed-back ink."""
    film = surface.layout
    x, y = _on_ink(film, rng)
    radius = between(rng, 3.6, 12)
    window = window_at(x, y, 2.2 * radius, 2.2 * radius, film.height, film.width)
    distance = blob_distance(rng, window, x, y, radius, radius, roughness=0.08)
    bare = soft_inside(distance, 0.3) * np.float32(between(rng, 0.75, 1))
    border = np.exp(-(((distance - 1.18) / 0.13) ** 2)) * np.float32(0.3)
    inks = film.inks(window)
    picture = _reprinted(surface, window, inks * (1 - bare + border)[:, :, None])
    shape = spot_or_blob(2 * radius)
    return Stroke(window=window, picture=picture, coverage=bare, step="corona-treatment", shape=shape)


def ink_splash(surface: Surface[Print], rng: Rng) -> Stroke:
    """A thrown drop of one ink with a few small satellites."""
    film = surface.layout
    x, y = anywhere(rng, film.height, film.width)
    radius, ink = between(rng, 3.6, 13), int(rng.choice([CYAN, MAGENTA, BLACK]))
    window = window_at(x, y, 3.4 * radius + 8, 3.4 * radius + 8, film.height, film.width)
    drop = soft_inside(blob_distance(rng, window, x, y, radius, radius, roughness=0.12), 0.3)
    for _ in range(int(rng.integers(1, 5))):
        away, angle = between(rng, 1.5, 3) * radius, between(rng, 0, 2 * math.pi)
        small = max(between(rng, 0.12, 0.32) * radius, 1.1)
        satellite_x, satellite_y = x + away * math.cos(angle), y + away * math.sin(angle)
        distance = blob_distance(rng, window, satellite_x, satellite_y, small, small, roughness=0.1)
        drop = np.maximum(drop, soft_inside(distance, 0.6))
    inks = film.inks(window)
    inks[:, :, ink] += drop * np.float32(between(rng, 0.55, 1.1))
    picture = _reprinted(surface, window, inks)
    return Stroke(
        window=window, picture=picture, coverage=drop, step="printing", shape=spot_or_blob(2 * radius)
    )


def streak(surface: Surface[Print], rng: Rng) -> Stroke:
    """A thin line along the web: extra ink from a nicked doctor blade, or ink scraped off in the dryer."""
    film = surface.layout
    is_from_blade = rng.random() < 0.55
    x, y = anywhere(rng, film.height, film.width) if is_from_blade else _on_ink(film, rng)
    length = min(between(rng, 90, 460), 0.95 * film.height)
    points = path(rng, x, y, math.pi / 2 + math.radians(between(rng, -0.5, 0.5)), length)
    window = window_around(points, 6, film.height, film.width)
    line = line_coverage(window, points, between(rng, 2.0, 3.4), fading(rng, len(points), 0.6))
    inks = film.inks(window)
    if is_from_blade:
        ink = int(rng.choice([CYAN, MAGENTA, BLACK]))
        inks[:, :, ink] += line * np.float32(between(rng, 0.22, 0.6))
    else:
        broken = np.clip(np.float32(0.75) + np.float32(0.3) * noise(rng, *window.shape, 9, 3), 0, 1)
        inks *= (1 - line * broken * np.float32(between(rng, 0.6, 0.95)))[:, :, None]
    picture = _reprinted(surface, window, inks)
    step = "printing" if is_from_blade else "drying"
    return Stroke(window=window, picture=picture, coverage=line * np.float32(1.7), step=step, shape="line")


def register_shift(surface: Surface[Print], rng: Rng) -> Stroke:
    """One ink printed several pixels off where the film stretched: coloured fringes on one side."""
    film = surface.layout
    x, y = _on_ink(film, rng)
    reach_x, reach_y = between(rng, 40, 105), between(rng, 40, 105)
    window = window_at(x, y, 1.3 * reach_x, 1.3 * reach_y, film.height, film.width)
    distance = blob_distance(rng, window, x, y, reach_x, reach_y, roughness=0.06)
    stretched = soft_inside(distance, 0.5)
    angle, shift_px = between(rng, 0, 2 * math.pi), between(rng, 3.5, 7.5)
    ink = int(rng.choice([CYAN, MAGENTA, BLACK]))
    inks = film.inks(window)
    shift_x, shift_y = np.float32(shift_px * math.cos(angle)), np.float32(shift_px * math.sin(angle))
    inks[:, :, ink] = bent(inks[:, :, ink], stretched * shift_x, stretched * shift_y)
    picture = _reprinted(surface, window, inks)
    # The fringes are narrow; together they are one patch, so the gaps between them are closed.
    fringe = np.abs(picture - window.cut(surface.picture)).max(axis=2) > 0.06
    fringe &= stretched > 0.3
    opened = cv2.morphologyEx(fringe.astype(np.float32), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    closed = cv2.morphologyEx(opened, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    coverage = np.asarray(closed, dtype=np.float32)
    return Stroke(window=window, picture=picture, coverage=coverage, step="printing", shape="patch")


def smear(surface: Surface[Print], rng: Rng) -> Stroke:
    """Wet ink wiped along the web: soft coloured trails below every printed edge."""
    film = surface.layout
    x, y = _on_ink(film, rng)
    reach_x, reach_y = between(rng, 18, 55), between(rng, 22, 60)
    window = window_at(x, y, 1.4 * reach_x, 1.4 * reach_y, film.height, film.width)
    distance = blob_distance(rng, window, x, y, reach_x, reach_y, roughness=0.12)
    wiped = soft_inside(distance + np.float32(0.12) * noise(rng, *window.shape, 40, 4), 0.4)
    tail = int(between(rng, 18, 44))
    kernel = np.zeros((2 * tail + 1, 1), np.float32)
    kernel[tail:] = np.exp(-np.arange(tail + 1, dtype=np.float32) / (0.4 * tail))[:, None]
    kernel /= kernel.sum()
    inks = film.inks(window)
    # filter2D looks the other way round from a trail, hence the flip.
    trailed = cv2.filter2D(inks, -1, kernel[::-1], borderType=cv2.BORDER_REPLICATE)
    dragged = np.asarray(trailed, dtype=np.float32)
    dragged *= (1 + np.float32(0.2) * noise(rng, *window.shape, 60, 3))[:, :, None]
    inks += (dragged - inks) * (wiped * np.float32(between(rng, 0.75, 1)))[:, :, None]
    picture = _reprinted(surface, window, inks)
    # Within solid ink a smear changes little; the patch is closed over such places.
    changed = (np.abs(picture - window.cut(surface.picture)).max(axis=2) > 0.03).astype(np.float32) * wiped
    coverage = np.asarray(cv2.morphologyEx(changed, cv2.MORPH_CLOSE, np.ones((11, 11), np.uint8)), np.float32)
    return Stroke(window=window, picture=picture, coverage=coverage, step="drying", shape="patch")


def gel(surface: Surface[Print], rng: Rng) -> Stroke:
    """An unmelted lump in the film: a small clear lens with a glint and a dark foot, the print bent in it."""
    film = surface.layout
    x, y = anywhere(rng, film.height, film.width)
    radius_x, radius_y = between(rng, 5, 9.5), between(rng, 5, 10)
    window = window_at(x, y, 2.2 * radius_x, 2.2 * radius_y, film.height, film.width)
    distance = blob_distance(rng, window, x, y, radius_x, radius_y, roughness=0.03)
    lens = soft_inside(distance, 0.5)
    grid_x, grid_y = window.grid()
    magnified = lens * np.float32(between(rng, 0.35, 0.6))
    below = bent(window.cut(surface.picture), -(grid_x - x) * magnified, -(grid_y - y) * magnified)
    u, v = (grid_x - x) / np.float32(radius_x), (grid_y - y) / np.float32(radius_y)
    glint = np.exp(-((u + 0.35) ** 2 + (v + 0.35) ** 2) * np.float32(9)) * np.float32(between(rng, 0.2, 0.42))
    foot = np.exp(-(((distance - 0.9) / 0.2) ** 2)) * np.clip(u + v + 0.6, 0, 1.4) * np.float32(0.22)
    picture = shaded(below, np.asarray(-foot, dtype=np.float32))
    picture = np.asarray(picture + (glint * (1.05 - picture.mean(axis=2)))[:, :, None], dtype=np.float32)
    return Stroke(window=window, picture=picture, coverage=lens, step="extrusion", shape="spot")


def bubble(surface: Surface[Print], rng: Rng) -> Stroke:
    """Air under the laminate: a milky blister with a bright rim on one side and a dark one opposite."""
    film = surface.layout
    x, y = anywhere(rng, film.height, film.width)
    radius_x, radius_y = between(rng, 12, 32), between(rng, 12, 32)
    window = window_at(x, y, 1.6 * radius_x, 1.6 * radius_y, film.height, film.width)
    distance = blob_distance(rng, window, x, y, radius_x, radius_y, angle=between(rng, 0, 3), roughness=0.08)
    inside = soft_inside(distance, 0.14)
    milky = np.float32(between(rng, 0.12, 0.26)) * inside
    below = window.cut(surface.picture)
    pale = below + (np.float32(0.82) - below) * milky[:, :, None]
    grid_x, grid_y = window.grid()
    side = -(grid_x - x) / np.float32(radius_x) - (grid_y - y) / np.float32(radius_y)
    rim = np.exp(-(((distance - 0.93) / 0.08) ** 2)) * np.clip(side, -1, 1)
    picture = pale + (rim * np.float32(between(rng, 0.14, 0.26)))[:, :, None]
    return Stroke(
        window=window,
        picture=np.asarray(picture, np.float32),
        coverage=inside,
        step="lamination",
        shape="blob",
    )


def wrinkle(surface: Surface[Print], rng: Rng) -> Stroke:
    """A long slanting fold: a narrow bright ridge between two dark flanks, the print stepped along it."""
    film = surface.layout
    x, y = anywhere(rng, film.height, film.width)
    angle = math.pi / 2 + math.radians(between(rng, 9, 42) * (1 if rng.random() < 0.5 else -1))
    length = min(between(rng, 120, 480), 0.9 * min(film.height, film.width))
    points = path(rng, x, y, angle, length, bend=between(rng, -14, 14))
    window = window_around(points, 20, film.height, film.width)
    breadth, strength = between(rng, 2.6, 5), fading(rng, len(points), 0.7)
    ridge = cv2.GaussianBlur(line_coverage(window, points, breadth, strength), (0, 0), breadth / 3)
    fold = cv2.GaussianBlur(line_coverage(window, points, 3 * breadth, strength), (0, 0), breadth / 1.8)
    normal = np.array([-math.sin(angle), math.cos(angle)])
    pulled = fold * np.float32(between(rng, 2, 4))
    below = bent(window.cut(surface.picture), pulled * np.float32(normal[0]), pulled * np.float32(normal[1]))
    depth = np.float32(between(rng, 0.18, 0.32))
    picture = shaded(below, np.asarray(-depth * (fold - ridge), dtype=np.float32))
    picture = np.asarray(picture + (ridge * np.float32(0.55) * depth)[:, :, None], dtype=np.float32)
    return Stroke(
        window=window, picture=picture, coverage=np.asarray(fold, np.float32), step="winding", shape="line"
    )


def _developed(inks: Inks) -> Picture:
    """The colour of inks over bare film; each ink takes its share of what the others leave."""
    left = np.asarray(cv2.exp(cv2.transform(inks, -ABSORPTION)), dtype=np.float32)
    left *= BARE_FILM
    return left


def _repeated(repeat: Picture, map_x: Field, map_y: Field) -> Picture:
    taken = cv2.remap(repeat, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(taken, dtype=np.float32)


def _reprinted(surface: Surface[Print], window: Window, inks: Inks) -> Picture:
    """The window with other inks under the same gloss."""
    before = _developed(surface.layout.inks(window))
    return np.asarray(window.cut(surface.picture) + _developed(inks) - before, dtype=np.float32)


def _shifted(plate: Picture, x: float, y: float) -> Picture:
    return bent(plate, np.full(plate.shape, x, np.float32), np.full(plate.shape, y, np.float32))


def _on_ink(film: Print, rng: Rng) -> tuple[float, float]:
    """A place where enough ink lies to miss it."""

    def is_inked(x: float, y: float) -> bool:
        around = window_at(x, y, 1, 1, film.height, film.width)
        return float(film.inks(around).sum(axis=2).mean()) > 0.5

    return seek(rng, film.height, film.width, is_inked, tries=12)


RECIPE = LineRecipe(
    product="printed-film",
    paint=paint,
    defects=MappingProxyType(
        {
            "ink-void": ink_void,
            "ink-splash": ink_splash,
            "streak": streak,
            "register-shift": register_shift,
            "smear": smear,
            "gel": gel,
            "bubble": bubble,
            "wrinkle": wrinkle,
        }
    ),
    camera=Camera(gain=(0.92, 1.06), gradient=0.05, vignette=0.05, grain=0.009, dust_is_dark=0.75),
)
