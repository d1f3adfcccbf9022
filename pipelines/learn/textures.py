"""Surfaces made by formula, in great variety, so that the encoder learns from no real picture.

Every function takes a `numpy.random.Generator` and gives the same surface for the same generator
state. A *field* is float32 (size, size) with values in 0..1; a *texture* is float32 (size, size, 3)
RGB in 0..1. Which families there are decides what the encoder can tell apart; the log of what
helped is docs/experiments.md, heading "Encoder".
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Field = NDArray[np.float32]
Texture = NDArray[np.float32]
_Array = NDArray[Any]  # what OpenCV and arithmetic give before it is a field again


def make_texture(rng: Generator, size: int = 384) -> Texture:
    """One surface: a field or a mixture of two, given contrast, colour and uneven light."""
    field = _field(rng, size)
    for _ in range(rng.choice(3, p=[0.45, 0.4, 0.15])):
        field = _mix(rng, field, _field(rng, size))
    if rng.random() < 0.25:
        field = _shape_on_ground(rng, field, _field(rng, size))
    texture = _coloured(rng, field)
    if rng.random() < 0.5:
        light = 1 + rng.uniform(0, 0.25) * (smooth_noise(rng, size, rng.uniform(0.15, 0.5) * size) - 0.5)
        texture = texture * light[:, :, None]
    return np.clip(texture, 0, 1).astype(np.float32)


def smooth_noise(rng: Generator, size: int, scale_px: float) -> Field:
    """Blurred noise stretched to 0..1 whose spots are about `scale_px` wide."""
    coarse = max(4, round(size / max(scale_px, 1.0) * 2))
    if coarse >= size:
        noise = cv2.GaussianBlur(rng.random((size, size), np.float32), (0, 0), max(scale_px, 0.3))
    else:
        noise = cv2.resize(
            rng.random((coarse, coarse), np.float32), (size, size), interpolation=cv2.INTER_CUBIC
        )
    return _stretched(noise)


def _stretched(field: _Array) -> Field:
    low, high = float(field.min()), float(field.max())
    return _field_of((field - low) / max(high - low, 1e-6))


def _field_of(values: _Array) -> Field:
    return np.asarray(values, np.float32)


def _log_uniform(rng: Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _plane(rng: Generator, size: int, warp: float = 0.0) -> tuple[Field, Field]:
    """Two rotated, optionally warped axes in pixels."""
    angle = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
    y, x = np.mgrid[:size, :size].astype(np.float32)
    if warp > 0:
        scale = rng.uniform(20, 120)
        x = x + warp * (smooth_noise(rng, size, scale) - 0.5)
        y = y + warp * (smooth_noise(rng, size, scale) - 0.5)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return c * x + s * y, c * y - s * x


def _spectrum(rng: Generator, size: int) -> Field:
    """Noise with a power-law spectrum, round or stretched, whole or one band of it."""
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    stretch = _log_uniform(rng, 1, 6) if rng.random() < 0.4 else 1.0
    angle = rng.uniform(0, np.pi)
    u, v = np.cos(angle) * fx + np.sin(angle) * fy, np.cos(angle) * fy - np.sin(angle) * fx
    radius = np.sqrt((u * stretch) ** 2 + v**2) + 1 / size
    power = radius ** -rng.uniform(0.3, 2.4)
    if rng.random() < 0.4:
        centre = _log_uniform(rng, 0.015, 0.25)
        power = np.exp(-(((radius - centre) / (centre * rng.uniform(0.15, 0.6))) ** 2))
    noise = np.fft.rfft2(rng.standard_normal((size, size), np.float32))
    field = np.fft.irfft2(noise * power, s=(size, size))
    deviation = max(float(field.std()), 1e-9)
    return _field_of(np.clip(0.5 + (field - field.mean()) / deviation / 6, 0, 1))


def _blotches(rng: Generator, size: int) -> Field:
    noise = smooth_noise(rng, size, _log_uniform(rng, 3, 50))
    return _field_of(1 / (1 + np.exp(-(noise - rng.uniform(0.35, 0.7)) * _log_uniform(rng, 8, 120))))


def _grating(rng: Generator, size: int) -> Field:
    along, _ = _plane(rng, size, warp=rng.choice([0.0, rng.uniform(0, 40)]))
    wave = np.sin(along * np.float32(2 * np.pi / _log_uniform(rng, 5, 90)) + rng.uniform(0, 6))
    return _field_of(0.5 + 0.5 * np.tanh(wave * _log_uniform(rng, 0.5, 12)))


def _weave(rng: Generator, size: int) -> Field:
    a, b = _plane(rng, size, warp=rng.uniform(0, 12))
    pitch = _log_uniform(rng, 6, 36)
    i, j = np.floor(a / pitch), np.floor(b / pitch)
    over = ((i + j * rng.integers(1, 3)) % rng.integers(2, 4)) < 1
    thread_a, thread_b = np.abs(np.sin(np.pi * a / pitch)), np.abs(np.sin(np.pi * b / pitch))
    return _field_of(np.where(over, thread_a, rng.uniform(0.4, 1) * thread_b))


def _cells(rng: Generator, size: int) -> Field:
    """Voronoi cells: flat grey each, or the distance to the nearest seed, or their borders."""
    ground = np.full((size, size), 255, np.uint8)
    count = int((size / _log_uniform(rng, 8, 60)) ** 2) + 2
    ground[rng.integers(0, size, count), rng.integers(0, size, count)] = 0
    distance, label = cv2.distanceTransformWithLabels(ground, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    kind = rng.integers(3)
    if kind == 0:
        return _stretched(np.asarray(distance))
    level = rng.random(int(label.max()) + 1, np.float32)[label]
    if kind == 1:
        return _field_of(level)
    border = cv2.morphologyEx(level, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    return _field_of(cv2.GaussianBlur(border.astype(np.float32), (0, 0), rng.uniform(0.5, 2)))


def _marble(rng: Generator, size: int) -> Field:
    along, _ = _plane(rng, size)
    turbulence = sum(smooth_noise(rng, size, size / 2.0**k) / 1.8**k for k in range(1, 6))
    wave = np.sin(along / _log_uniform(rng, 8, 60) + turbulence * rng.uniform(4, 14))
    return _stretched(1 - np.abs(wave) ** rng.uniform(0.3, 2))


def _brushed(rng: Generator, size: int) -> Field:
    """Metal brushing or wood grain: noise drawn out along one direction."""
    wide = int(size * 1.5)
    noise: _Array = rng.standard_normal((wide, wide), np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), _log_uniform(rng, 6, 60), sigmaY=_log_uniform(rng, 0.4, 3))
    angle = float(rng.choice([0, 90, rng.uniform(0, 180)]))
    turn = cv2.getRotationMatrix2D((wide / 2, wide / 2), angle, 1.0)
    cut = (wide - size) // 2
    return _stretched(cv2.warpAffine(noise, turn, (wide, wide))[cut : cut + size, cut : cut + size])


def _grain(rng: Generator, size: int) -> Field:
    noise: _Array = rng.standard_normal((size, size), np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), _log_uniform(rng, 0.3, 2.5))
    noise = noise / max(float(noise.std()), 1e-6)
    if rng.random() < 0.4:
        noise = np.maximum(noise - rng.uniform(0, 2), 0)
    return _field_of(np.clip(0.5 + noise / 6, 0, 1))


def _circuit(rng: Generator, size: int) -> Field:
    """Two-level right-angled traces with pads, as on a printed circuit board."""
    board = np.zeros((size, size), np.uint8)
    pitch = int(rng.integers(10, 36))
    for _ in range(int(rng.integers(20, 70))):
        point = rng.integers(0, size // pitch + 1, 2) * pitch
        for _ in range(int(rng.integers(1, 5))):
            step = (
                rng.integers(-8, 9)
                * pitch
                * np.array([[1, 0], [0, 1], [1, 1]])[rng.choice(3, p=[0.45, 0.45, 0.1])]
            )
            end = point + step
            cv2.line(board, point.tolist(), end.tolist(), 255, int(rng.integers(2, max(3, pitch // 2))))
            point = end
        if rng.random() < 0.6:
            radius = int(rng.integers(3, max(4, pitch // 2 + 1)))
            cv2.circle(board, point.tolist(), radius, 255, -1)
            cv2.circle(board, point.tolist(), radius // 3, int(rng.choice([0, 255])), -1)
    return _field_of(cv2.GaussianBlur(board, (0, 0), rng.uniform(0.4, 1.2)) / 255)


def _draw_mark(rng: Generator, canvas: NDArray[np.uint8], centre: NDArray[np.int64], reach: float) -> None:
    level = int(rng.integers(60, 256))
    kind = rng.integers(4)
    if kind == 0:
        axes = np.maximum(1, rng.uniform(0.1, 0.5, 2) * reach).astype(int).tolist()
        cv2.ellipse(
            canvas, centre.tolist(), axes, rng.uniform(0, 180), 0, 360, level, int(rng.choice([-1, 1, 2]))
        )
    elif kind == 1:
        points = (centre + rng.uniform(-0.5, 0.5, (int(rng.integers(3, 7)), 2)) * reach).astype(np.int32)
        cv2.fillPoly(canvas, [points], level)
    else:
        points = (centre + rng.uniform(-0.5, 0.5, (int(rng.integers(2, 5)), 2)) * reach).astype(np.int32)
        cv2.polylines(canvas, [points], bool(kind == 2), level, int(rng.integers(1, 4)))


def _printed(rng: Generator, size: int) -> Field:
    """One motif repeated on a grid, with or without play."""
    pitch = int(_log_uniform(rng, 12, 90))
    motif = np.zeros((pitch, pitch), np.uint8)
    for _ in range(int(rng.integers(1, 5))):
        _draw_mark(rng, motif, rng.integers(0, pitch, 2), pitch * 0.9)
    times = size // pitch + 2
    rows = [
        np.roll(np.tile(motif, (1, times)), int(k * rng.choice([0, pitch // 2])), 1) for k in range(times)
    ]
    sheet = np.concatenate(rows)[:size, :size].astype(np.float32) / 255
    return _field_of(cv2.GaussianBlur(sheet, (0, 0), rng.uniform(0.4, 1.5)))


def _scattered(rng: Generator, size: int) -> Field:
    """Fibres, specks or pores strewn at random: marks that are normal here and a defect elsewhere."""
    canvas = np.zeros((size, size), np.uint8)
    reach = _log_uniform(rng, 3, 40)
    seed, varied = int(rng.integers(2**31)), rng.random() < 0.5
    for centre in rng.integers(0, size, (int(min(700, rng.uniform(0.1, 1.2) * (size / reach) ** 2)) + 3, 2)):
        _draw_mark(rng if varied else np.random.default_rng(seed), canvas, centre, reach)
    return _field_of(cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.4, 1.5)) / 255)


def _lattice(rng: Generator, size: int) -> Field:
    """Holes or bumps on a square or staggered lattice, or the joints of bricks."""
    a, b = _plane(rng, size)
    pitch, ratio = _log_uniform(rng, 8, 70), rng.uniform(0.6, 1.7)
    b = b / ratio
    a = a + np.floor(b / pitch) * pitch * rng.choice([0, 0.5])
    u, v = np.abs((a / pitch) % 1 - 0.5), np.abs((b / pitch) % 1 - 0.5)
    reach = np.sqrt(u**2 + v**2) if rng.random() < 0.6 else np.maximum(u, v)
    return _field_of(1 / (1 + np.exp(-(reach - rng.uniform(0.15, 0.47)) * pitch * rng.uniform(0.5, 2))))


def _plain(rng: Generator, size: int) -> Field:
    return _stretched(smooth_noise(rng, size, rng.uniform(0.5, 2) * size) * 0.1 + rng.uniform(0, 0.9))


_FAMILIES: tuple[tuple[Callable[[Generator, int], Field], float], ...] = (
    (_spectrum, 3), (_blotches, 1), (_grating, 1.2), (_weave, 1), (_cells, 1.2), (_marble, 1), (_brushed, 2),
    (_grain, 2), (_circuit, 1.5), (_printed, 1.5), (_scattered, 1.5), (_lattice, 1.2), (_plain, 1.5),
)  # fmt: skip
_WEIGHTS = np.array([weight for _, weight in _FAMILIES]) / sum(weight for _, weight in _FAMILIES)


def _field(rng: Generator, size: int) -> Field:
    family = _FAMILIES[rng.choice(len(_FAMILIES), p=_WEIGHTS)][0]
    return family(rng, size)


def _mix(rng: Generator, first: Field, second: Field) -> Field:
    share = np.float32(rng.uniform(0.08, 0.5))
    if rng.random() < 0.5:
        return first * (1 - share) + second * share
    return first * (1 - share * second)


def _shape_on_ground(rng: Generator, part: Field, ground: Field) -> Field:
    """A part with straight or round outline before another surface, as cameras see it."""
    size = len(part)
    a, b = _plane(rng, size)
    a, b = a - a.mean(), b - b.mean()
    reach = rng.uniform(0.12, 0.45) * size
    outside = (np.hypot(a, b), np.abs(a), np.maximum(np.abs(a), np.abs(b)))[rng.integers(3)] - reach
    cover = np.clip(0.5 - outside / rng.uniform(1, 3), 0, 1)
    behind = ground * rng.uniform(0, 0.6) + rng.uniform(0, 0.4)
    return _field_of(part * cover + behind * (1 - cover))


def _coloured(rng: Generator, field: Field) -> Texture:
    """Grey in half of all cases, else along a palette of two to four colours; contrast from faint to full."""
    contrast = _log_uniform(rng, 0.06, 1.0)
    base = rng.uniform(0, 1 - contrast)
    grey = base + contrast * (field if rng.random() < 0.7 else 1 - field)
    grey = grey + rng.normal(0, _log_uniform(rng, 0.002, 0.02), field.shape)
    if rng.random() < 0.5:
        return np.repeat(grey[:, :, None], 3, 2).astype(np.float32)
    stops = np.linspace(0, 1, int(rng.integers(2, 5)))
    tint = rng.uniform(0, 1, (len(stops), 3)) * rng.uniform(0.2, 1) + np.linspace(0, 0.7, len(stops))[:, None]
    return np.stack([np.interp(grey, stops, tint[:, c]) for c in range(3)], 2).clip(0, 1).astype(np.float32)
