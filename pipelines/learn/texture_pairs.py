"""Endless training material for the encoder: two views of one formula-made surface, one of them flawed.

A pool of surfaces is renewed a few at a time, so that most of the time goes into training. Batch k is
the same for the same seed, whoever asks.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pipelines.learn.simulator import EVALUATION_SEED, simulated_lines
from pipelines.learn.texture_defects import add_defect, add_defects
from pipelines.learn.textures import Texture, make_texture

SURFACE_PX, CROP_PX = 384, 160
POOL, RENEWED_PER_BATCH = 160, 2  # surfaces
TWINS, BATCHES_PER_TWIN, SIMULATED_SHARE = 60, 12, 0.35  # a simulated frame costs as much as twenty surfaces

_View = tuple[NDArray[np.float32], ...]


@dataclass(frozen=True, slots=True, eq=False)
class PairBatch:
    """`normal` and `flawed` are float32 (B, 3, CROP_PX, CROP_PX) in 0..1, pair by pair of one surface.

    `mask` is float32 (B, 1, CROP_PX, CROP_PX), 1 on defects of `flawed`. `normal_level` and `flawed_level`
    are float32 (B, 2): mean and deviation of the whole surface's grey under that view's exposure.
    """

    normal: NDArray[np.float32]
    flawed: NDArray[np.float32]
    mask: NDArray[np.float32]
    normal_level: NDArray[np.float32]
    flawed_level: NDArray[np.float32]


def texture_pairs(seed: int, pairs: int, start: int = 0) -> Iterator[PairBatch]:
    """Batches from number `start` on, without end; about a third of the pairs show simulated lines."""
    begin = np.random.default_rng((seed, start))
    pool, twins = [_surface(begin) for _ in range(POOL)], [_twins(begin) for _ in range(TWINS)]
    number = start
    while True:
        rng = np.random.default_rng((seed, number, 1))
        for k in range(RENEWED_PER_BATCH):
            pool[(number * RENEWED_PER_BATCH + k) % POOL] = _surface(rng)
        if number % BATCHES_PER_TWIN == 0:
            twins[number // BATCHES_PER_TWIN % TWINS] = _twins(rng)
        views = []
        for k in rng.choice(POOL, pairs, replace=False):
            other = _opened(pool[int(rng.integers(POOL))])
            if rng.random() < SIMULATED_SHARE:
                views.append(_simulated_pair(rng, twins[int(rng.integers(TWINS))], other))
            else:
                views.append(_pair(rng, _opened(pool[k]), other))
        yield PairBatch(*(np.ascontiguousarray(np.stack(column)) for column in zip(*views, strict=True)))
        number += 1


@dataclass(frozen=True, slots=True, eq=False)
class _Twins:
    """A simulated frame with defects, uint8 (640, 640, 3), its faultless twin, and where they differ."""

    faultless: NDArray[np.uint8]
    flawed: NDArray[np.uint8]
    mask: NDArray[np.bool_]


def _twins(rng: Generator) -> _Twins:
    line = list(simulated_lines().values())[int(rng.integers(len(simulated_lines())))]
    ids = [defect.id for defect in line.knowledge.defects]
    seed = int(rng.integers(EVALUATION_SEED))
    chosen = [ids[k] for k in rng.permutation(len(ids))[: int(rng.integers(2, 5))]]
    flawed = line.frame(seed, defects=chosen)
    faultless, flawed_pixels = (
        pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, 2)
        for pixels in (line.frame(seed).pixels, flawed.pixels)
    )
    return _Twins(faultless, flawed_pixels, flawed.mask)


def _simulated_pair(rng: Generator, twins: _Twins, other: Texture) -> _View:
    """As `_pair`; mostly a simulated defect in view, else one made by formula on the simulated surface."""
    faultless = twins.faultless.astype(np.float32) / np.float32(255)
    room = faultless.shape[0] - CROP_PX
    marked = np.argwhere(twins.mask)
    corner = rng.integers(0, room + 1, 2)
    if rng.random() < 0.75 and len(marked):
        corner = np.clip(marked[rng.integers(len(marked))] - rng.integers(10, CROP_PX - 10, 2), 0, room)
    top, left = corner.tolist()
    crop = twins.flawed[top : top + CROP_PX, left : left + CROP_PX].astype(np.float32) / np.float32(255)
    mask = twins.mask[top : top + CROP_PX, left : left + CROP_PX]
    if not mask.any() and rng.random() < 0.7:
        crop, mask = add_defects(rng, crop, other)
    near = np.clip(corner + rng.integers(-16, 17, 2), 0, room)
    normal, normal_level = _photographed(
        rng, faultless, near if rng.random() < 0.5 else rng.integers(0, room + 1, 2)
    )
    flawed, flawed_level = _exposed(rng, crop, faultless)
    return normal, flawed, mask[None].astype(np.float32), normal_level, flawed_level


def _opened(stored: NDArray[np.uint16]) -> Texture:
    return stored.astype(np.float32) / np.float32(65535)


def _surface(rng: Generator) -> NDArray[np.uint16]:
    """A surface; on some, one kind of mark is normal, so that the encoder must compare and not guess."""
    texture = make_texture(rng, SURFACE_PX)
    if rng.random() < 0.2:
        style = int(rng.integers(2**31))
        for _ in range(int(rng.integers(6, 20))):
            top, left = rng.integers(0, SURFACE_PX - CROP_PX + 1, 2)
            crop = texture[top : top + CROP_PX, left : left + CROP_PX]
            marks = np.random.default_rng(style if rng.random() < 0.7 else style + 1)
            crop[:] = add_defect(marks, crop, texture)[0]
    return (texture * 65535).astype(np.uint16)


def _pair(rng: Generator, texture: Texture, other: Texture) -> _View:
    if rng.random() < 0.5:
        texture = np.ascontiguousarray(np.rot90(texture, int(rng.integers(1, 4))))
    spot = rng.integers(0, SURFACE_PX - CROP_PX + 1, 2)
    second = np.clip(spot + rng.integers(-12, 13, 2), 0, SURFACE_PX - CROP_PX)
    if rng.random() < 0.65:
        second = rng.integers(0, SURFACE_PX - CROP_PX + 1, 2)
    normal, normal_level = _photographed(rng, texture, spot)
    crop, mask = _turned(rng, texture, second), np.zeros((CROP_PX, CROP_PX), bool)
    if rng.random() < 0.85:
        crop, mask = add_defects(rng, crop, other)
    flawed, flawed_level = _exposed(rng, crop, texture)
    return normal, flawed, mask[None].astype(np.float32), normal_level, flawed_level


def _photographed(
    rng: Generator, texture: Texture, corner: NDArray[np.int64]
) -> tuple[Texture, NDArray[np.float32]]:
    return _exposed(rng, _turned(rng, texture, corner), texture)


def _turned(rng: Generator, texture: Texture, corner: NDArray[np.int64]) -> Texture:
    """A crop, in some cases slightly rotated and scaled about its centre, as parts lie under a camera."""
    top, left = corner.tolist()
    if rng.random() < 0.5:
        return texture[top : top + CROP_PX, left : left + CROP_PX].copy()
    centre = (left + CROP_PX / 2, top + CROP_PX / 2)
    turn = cv2.getRotationMatrix2D(centre, rng.normal(0, 3), float(np.exp(rng.normal(0, 0.04))))
    turn[:, 2] -= (left, top)
    view = cv2.warpAffine(texture, turn, (CROP_PX, CROP_PX), borderMode=cv2.BORDER_REFLECT)
    return np.asarray(view, np.float32)


def _exposed(rng: Generator, crop: Texture, whole: Texture) -> tuple[Texture, NDArray[np.float32]]:
    """The crop (3, CROP_PX, CROP_PX) under another exposure, and the whole surface's level under the same."""
    grey = whole[::4, ::4].mean(2)
    gain, gamma = np.exp(rng.normal(0, 0.2)), np.exp(rng.normal(0, 0.12))
    gain = min(
        gain, max(1.0, 1.05 / float(np.quantile(grey, 0.98)))
    )  # structure burnt out cannot be compared
    grey = np.clip(grey * gain, 0, 1) ** gamma
    view = np.clip(crop * np.float32(gain), 0, 1) ** np.float32(gamma)
    if rng.random() < 0.3:
        view = cv2.GaussianBlur(view, (0, 0), rng.uniform(0.3, 0.9))
    if rng.random() < 0.4:
        ramp = np.linspace(-1, 1, CROP_PX, dtype=np.float32) * np.float32(rng.normal(0, 0.08))
        view = view * (1 + (ramp[:, None] if rng.random() < 0.5 else ramp[None]))[:, :, None]
    noise = rng.standard_normal(view.shape[:2] if rng.random() < 0.7 else view.shape, np.float32)
    noise = noise * np.float32(abs(rng.normal(0, 0.012)))
    view = view + (noise if noise.ndim == 3 else noise[:, :, None])
    level = np.array([grey.mean() + rng.normal(0, 0.02), grey.std() * np.exp(rng.normal(0, 0.1))], np.float32)
    return np.ascontiguousarray(np.clip(view, 0, 1).astype(np.float32).transpose(2, 0, 1)), level
