"""Defects made by formula, put on any surface together with the mask of what can be seen of them.

A defect is an outline (spot, scratch, crack, chip, bite, smear, cloud, step) times a filling (darker,
another texture, blurred, displaced, another colour, a dark rim ...). Pictures are float32 (height,
width, 3) in 0..1; masks are bool (height, width), true only where the picture visibly changed, because
a pixel that looks normal must not be taught as a defect.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pipelines.learn.textures import smooth_noise

Picture3 = NDArray[np.float32]
Cover = NDArray[np.float32]
Mask = NDArray[np.bool_]


def add_defects(rng: Generator, picture: Picture3, other: Picture3) -> tuple[Picture3, Mask]:
    """One to three defects; `other` is a foreign surface of at least the same size to fill with."""
    mask = np.zeros(picture.shape[:2], bool)
    for _ in range(int(rng.choice([1, 2, 3], p=[0.6, 0.25, 0.15]))):
        picture, seen = add_defect(rng, picture, other)
        mask |= seen
    return picture, mask


def add_defect(rng: Generator, picture: Picture3, other: Picture3) -> tuple[Picture3, Mask]:
    """One defect; the mask is empty if it turned out invisible, and the picture is then unchanged."""
    size = picture.shape[0]
    shape = _SHAPES[rng.choice(len(_SHAPES), p=_SHAPE_SHARES)]
    outline = shape(rng, size)
    soft = rng.uniform(0.3, 1.2) if rng.random() < 0.8 else rng.uniform(1.2, 4)
    cover = np.clip(cv2.GaussianBlur(outline, (0, 0), soft), 0, 1) * np.float32(rng.uniform(0.5, 1))
    if shape in _THIN:
        filling, cover = _scored(rng, picture), np.clip(cover * np.float32(1.6), 0, 1)
    elif rng.random() < _OUTLINED_SHARES.get(shape, 0.0):
        filling = _outlined(rng, picture, outline)
    else:
        shares = _STEP_FILLING_SHARES if shape is _step else _FILLING_SHARES
        filling = _FILLINGS[rng.choice(len(_FILLINGS), p=shares)](rng, picture, other)
    changed = np.clip(picture + (filling - picture) * cover[:, :, None], 0, 1).astype(np.float32)
    mask = _seen(picture, changed, outline)
    if shape is _step and mask.any():
        mask = _rim(outline)
    return (changed, mask) if mask.any() else (picture, mask)


def _seen(before: Picture3, after: Picture3, outline: Cover) -> Mask:
    """Where the change stands out from the surface's own contrast, closed over small holes."""
    change = np.abs(after - before).max(2)
    noise = np.abs(before - cv2.GaussianBlur(before, (0, 0), 1.0)).mean()
    seen = ((cv2.blur(change, (3, 3)) > 0.015 + 0.6 * noise) & (outline > 0.3)).astype(np.uint8)
    seen = cv2.morphologyEx(seen, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) * (outline > 0.3)
    if seen.sum() < max(5.0, 0.25 * float((outline > 0.3).sum())):
        return np.zeros(before.shape[:2], bool)
    return seen.astype(bool)


def _rim(outline: Cover) -> Mask:
    """A step is only told by its edge: either side alone could be the normal one."""
    return cv2.morphologyEx(outline, cv2.MORPH_GRADIENT, np.ones((9, 9), np.uint8)) > 0.5


def _spot(rng: Generator, size: int) -> Cover:
    cover = np.zeros((size, size), np.float32)
    reach = np.exp(rng.uniform(np.log(1.2), np.log(size / 6), 1)) * rng.uniform(0.4, 1.6, 2)
    axes = np.maximum(1, reach).astype(int).tolist()
    cv2.ellipse(cover, rng.integers(0, size, 2).tolist(), axes, rng.uniform(0, 180), 0, 360, 1.0, -1)
    if min(axes) < 3:
        return cover
    ragged = cv2.GaussianBlur(cover, (0, 0), min(axes) / 3) + 0.5 * (smooth_noise(rng, size, min(axes)) - 0.5)
    return (ragged > 0.5).astype(np.float32)


def _curve(rng: Generator, size: int) -> Cover:
    """A scratch or crack: a random walk 1 to 3 px wide, sometimes forked."""
    cover = np.zeros((size, size), np.float32)
    heading, point = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.9, 2) * size
    bend, stride = rng.choice([0.0, rng.uniform(0.05, 0.6)]), rng.uniform(2, 6)
    path = [point]
    for _ in range(int(rng.integers(3, 40))):
        heading += rng.normal(0, bend)
        path.append(path[-1] + stride * np.array([np.cos(heading), np.sin(heading)]))
    width = int(rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15]))
    points = (np.array(path) * 8).astype(np.int32)
    cv2.polylines(cover, [points], False, 1.0, width, cv2.LINE_AA, 3)
    if rng.random() < 0.2:
        fork = path[len(path) // 2] + np.cumsum(rng.normal(0, stride, (8, 2)), 0)
        cv2.polylines(cover, [(fork * 8).astype(np.int32)], False, 1.0, 1, cv2.LINE_AA, 3)
    return cover


def _crack(rng: Generator, size: int) -> Cover:
    """A thin jagged line along one heading, most often from a side inwards, sometimes interrupted."""
    cover = np.zeros((size, size), np.float32)
    place, inwards = rng.uniform(0, size), rng.normal(0, 0.4)
    starts = (
        ((place, 0.0), np.pi / 2 + inwards),
        ((place, size - 1.0), -np.pi / 2 + inwards),
        ((0.0, place), inwards),
        ((size - 1.0, place), np.pi + inwards),
    )
    start, along = starts[int(rng.integers(4))]
    if rng.random() < 0.4:
        start, along = (rng.uniform(0, size), rng.uniform(0, size)), rng.uniform(0, 2 * np.pi)
    stride, jitter = rng.uniform(2, 5), rng.uniform(0.1, 0.5)
    path, heading = [np.array(start)], along
    for _ in range(int(rng.integers(4, 60))):
        heading = along + 0.8 * (heading - along) + rng.normal(0, jitter)
        path.append(path[-1] + stride * np.array([np.cos(heading), np.sin(heading)]))
    width = int(rng.choice([1, 2, 3], p=[0.55, 0.33, 0.12]))
    cv2.polylines(cover, [(np.array(path) * 8).astype(np.int32)], False, 1.0, width, cv2.LINE_AA, 3)
    if rng.random() < 0.4:
        cover *= smooth_noise(rng, size, rng.uniform(3, 12)) > rng.uniform(0.2, 0.45)
    return cover


def _cloud(rng: Generator, size: int) -> Cover:
    noise = smooth_noise(rng, size, float(np.exp(rng.uniform(np.log(3), np.log(24)))))
    around = np.zeros((size, size), np.float32)
    cv2.circle(around, rng.integers(0, size, 2).tolist(), int(rng.integers(6, size // 3)), 1.0, -1)
    return (noise > np.quantile(noise, rng.uniform(0.5, 0.9))).astype(np.float32) * around


def _chip(rng: Generator, size: int) -> Cover:
    """A bite out of one side of the picture."""
    depth = rng.uniform(0.02, 0.25) * size
    profile = depth * smooth_noise(rng, size, rng.uniform(4, 20))[0] * 1.5
    profile = profile * (np.abs(np.arange(size) - rng.integers(0, size)) < rng.uniform(0.03, 0.35) * size)
    cover = (np.arange(size)[:, None] < profile[None]).astype(np.float32)
    return np.ascontiguousarray(np.rot90(cover, int(rng.integers(4))))


def _bite(rng: Generator, size: int) -> Cover:
    """What has broken off at one side: round lobes, not the teeth of a chip."""
    cover = np.zeros((size, size), np.float32)
    place, reach = rng.uniform(0, size), np.exp(rng.uniform(np.log(4), np.log(40), 2))
    for _ in range(int(rng.integers(1, 4))):
        centre = int(place + rng.normal(0, reach[0] / 2)), int(rng.uniform(-0.3, 0.3) * reach[1])
        axes = [int(each * rng.uniform(0.5, 1)) + 1 for each in reach]
        cv2.ellipse(cover, centre, axes, rng.uniform(-20, 20), 0, 360, 1.0, -1)
    near = cv2.dilate(cover, np.ones((5, 5), np.uint8)) > 0
    ragged = cv2.GaussianBlur(cover, (0, 0), max(1.0, float(reach.min()) / 4))
    ragged = ragged + 0.4 * (smooth_noise(rng, size, max(2.0, float(reach.min()) / 2)) - 0.5) * near
    return np.ascontiguousarray(np.rot90((ragged > 0.5).astype(np.float32), int(rng.integers(4))))


def _step(rng: Generator, size: int) -> Cover:
    """All that lies beyond a straight or wavy line, as where two passes of a machine meet."""
    angle, (y, x) = rng.uniform(0, 2 * np.pi), np.mgrid[:size, :size].astype(np.float32) / size - 0.5
    wave = rng.choice([0.0, rng.uniform(0, 0.3)]) * (smooth_noise(rng, size, rng.uniform(8, 60)) - 0.5)
    beyond = x * np.cos(angle) + y * np.sin(angle) + wave > rng.uniform(-0.35, 0.35)
    return np.asarray(beyond, np.float32)


def _polygon(rng: Generator, size: int) -> Cover:
    cover = np.zeros((size, size), np.float32)
    centre, reach = rng.uniform(0, size, 2), float(np.exp(rng.uniform(np.log(3), np.log(size / 4))))
    corners = centre + rng.uniform(-1, 1, (int(rng.integers(3, 7)), 2)) * reach
    cv2.fillPoly(cover, [corners.astype(np.int32)], 1.0)
    return cover


def _smear(rng: Generator, size: int) -> Cover:
    """A wide soft-ended stroke."""
    cover = np.zeros((size, size), np.float32)
    path = np.cumsum(rng.normal(0, 1, (5, 2)) * rng.uniform(3, 20) + rng.normal(0, 8, 2), 0)
    points = (path + rng.uniform(0.1, 0.9, 2) * size).astype(np.int32)
    cv2.polylines(cover, [points], False, 1.0, int(rng.integers(4, max(5, size // 8))), cv2.LINE_AA)
    return cover


def _specks(rng: Generator, size: int) -> Cover:
    cover = np.zeros((size, size), np.float32)
    around, spread = rng.uniform(0, size, 2), rng.uniform(3, 25)
    for centre in rng.normal(0, 1, (int(rng.integers(2, 14)), 2)) * spread + around:
        cv2.circle(cover, centre.astype(int).tolist(), int(rng.integers(0, 4)), 1.0, -1)
    return cover


_SHAPES: tuple[Callable[[Generator, int], Cover], ...] = (
    _spot, _curve, _crack, _cloud, _chip, _bite, _polygon, _smear, _specks, _step,
)  # fmt: skip
_SHAPE_SHARES = (0.22, 0.09, 0.15, 0.09, 0.036, 0.084, 0.07, 0.06, 0.05, 0.15)
_THIN = (_curve, _crack)
_OUTLINED_SHARES: dict[Callable[[Generator, int], Cover], float] = {
    _chip: 0.4,
    _bite: 0.4,
    _spot: 0.12,
    _polygon: 0.12,
    _cloud: 0.12,
}  # the rest: a filling


def _contrast(picture: Picture3) -> float:
    return float(picture.mean(2).std()) + 0.02


def _shifted_level(rng: Generator, picture: Picture3, times: float) -> Picture3:
    sign = rng.choice([-1, 1], p=[0.65, 0.35])
    tint = rng.uniform(0.6, 1.4, 3) if rng.random() < 0.3 else np.ones(3)
    return np.asarray(picture + sign * times * min(_contrast(picture), 0.15) * tint, np.float32)


def _level(rng: Generator, picture: Picture3, other: Picture3) -> Picture3:
    return _shifted_level(rng, picture, rng.uniform(0.6, 3.5))


def _scored(rng: Generator, picture: Picture3) -> Picture3:
    """What a scratch or crack shows: most often dark, and never very faint, because it is thin."""
    sign = rng.choice([-1, 1], p=[0.85, 0.15])
    return np.asarray(picture + sign * rng.uniform(0.5, 3) * min(_contrast(picture), 0.15), np.float32)


def _outlined(rng: Generator, picture: Picture3, outline: Cover) -> Picture3:
    """Little changed within, and dark along its border: material that has broken away, or come loose."""
    inner = picture + np.float32(rng.normal(0, 0.35) * _contrast(picture))
    if rng.random() < 0.5:
        inner = np.asarray(cv2.GaussianBlur(inner, (0, 0), rng.uniform(1, 4)), np.float32)
    width = int(rng.choice([2, 3, 5]))
    border = cv2.morphologyEx(outline, cv2.MORPH_GRADIENT, np.ones((width, width), np.uint8))
    depth = rng.uniform(0.5, 2.5) * min(_contrast(picture), 0.15)
    return np.asarray(inner - depth * cv2.GaussianBlur(border, (0, 0), 0.6)[:, :, None], np.float32)


def _flat(rng: Generator, picture: Picture3, other: Picture3) -> Picture3:
    colour = np.full(3, rng.uniform(0, 1)) if rng.random() < 0.7 else rng.uniform(0, 1, 3)
    grain = rng.normal(0, rng.uniform(0, 0.1), picture.shape[:2])[:, :, None]
    return (colour + grain).astype(np.float32)


def _foreign(rng: Generator, picture: Picture3, other: Picture3) -> Picture3:
    """Another surface, most often brought to the same brightness and contrast."""
    size = picture.shape[0]
    top, left = rng.integers(0, other.shape[0] - size + 1), rng.integers(0, other.shape[1] - size + 1)
    patch = other[top : top + size, left : left + size]
    if rng.random() < 0.3:
        return patch
    grey = patch.mean(2, keepdims=True)
    like = (grey - grey.mean()) / (grey.std() + 0.02) * _contrast(picture)
    level = picture.mean((0, 1)) + rng.normal(0, 0.5) * _contrast(picture)
    return np.asarray(level + like, np.float32)


def _displaced(rng: Generator, picture: Picture3, other: Picture3) -> Picture3:
    """The same surface from elsewhere, turned or scaled: breaks order without changing colours."""
    size = picture.shape[0]
    angle, scale = rng.choice([0.0, 90.0, rng.uniform(20, 160)]), float(np.exp(rng.uniform(-0.9, 0.9)))
    turn = cv2.getRotationMatrix2D((size / 2, size / 2), float(angle), scale)
    turn[:, 2] = turn[:, 2] + rng.uniform(-20, 20, 2)
    return np.asarray(cv2.warpAffine(picture, turn, (size, size), borderMode=cv2.BORDER_REFLECT), np.float32)


def _blurred(rng: Generator, picture: Picture3, other: Picture3) -> Picture3:
    """Structure wiped away: what a missing stroke or a worn place looks like."""
    away = cv2.GaussianBlur(picture, (0, 0), rng.uniform(2, 14))
    return (away + rng.normal(0, 0.3) * _contrast(picture)).astype(np.float32)


def _roughened(rng: Generator, picture: Picture3, other: Picture3) -> Picture3:
    grain = cv2.GaussianBlur(
        rng.standard_normal(picture.shape[:2], np.float32), (0, 0), rng.uniform(0.4, 2.5)
    )
    strength = rng.uniform(0.5, 2.5) * min(_contrast(picture), 0.15) / max(float(grain.std()), 1e-6)
    return np.asarray(picture + strength * grain[:, :, None], np.float32)


def _recoloured(rng: Generator, picture: Picture3, other: Picture3) -> Picture3:
    return (picture * rng.uniform(0.6, 1.4, 3) + rng.uniform(-0.15, 0.15, 3)).astype(np.float32)


_FILLINGS: tuple[Callable[[Generator, Picture3, Picture3], Picture3], ...] = (
    _level, _flat, _foreign, _displaced, _blurred, _roughened, _recoloured,
)  # fmt: skip
_FILLING_SHARES = (0.32, 0.16, 0.14, 0.12, 0.12, 0.07, 0.07)
# Beyond a step lies the same kind of surface, otherwise worked: nothing plain, and nothing out of place.
_STEP_FILLING_SHARES = (0.35, 0.0, 0.35, 0.0, 0.15, 0.15, 0.0)
