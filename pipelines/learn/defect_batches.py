"""What a defect network is shown: surfaces with defects made by formula, and how foreign each place looks."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from pipelines.frame import Picture
from pipelines.learn.defect_training import DefectBatch
from pipelines.learn.texture_defects import add_defects
from pipelines.learn.texture_pairs import texture_pairs
from pipelines.learn.textures import make_texture
from pipelines.localize.encoder import Encoder
from pipelines.localize.patch_memory import Remembered
from pipelines.localize.surface_network import normalised

CROP_PX = 128
FOREIGN_POOL, FOREIGN_PX = 24, 192
FLAWED_SHARE = 0.8
FOREIGN_SHARE = 0.4  # of the fillings that come from another surface; the rest from the product's own


def texture_batches(encoder: Encoder, *, seed: int, pairs: int, start: int = 0) -> Iterator[DefectBatch]:
    """Formula-made surfaces, each compared with another view of itself; same seed, same batches."""
    for number, batch in enumerate(texture_pairs(seed, pairs, start), start):
        rng = np.random.default_rng((seed, number, 2))
        known = _features(encoder, batch.normal, batch.normal_level)
        asked = _features(encoder, batch.flawed, batch.flawed_level)
        cosine = torch.einsum("bdij,bdn->bijn", asked, known.flatten(2)).amax(3)
        # A memory of many normal frames holds nearer patches than the one view here.
        nearer = torch.from_numpy(rng.uniform(0.5, 1.0, (pairs, 1, 1)).astype(np.float32))
        distance = ((1 - cosine).clamp_min(0) * nearer)[:, None]
        x = _view(batch.flawed, batch.flawed_level)
        yield DefectBatch(x, distance, torch.from_numpy(batch.mask))


class ProductBatches:
    """Crops of a product's own normal pictures, most of them with defects put on.

    Each crop is compared with the remembered patches of the other pictures, never with its own.
    """

    def __init__(
        self, pictures: Sequence[Picture], *, encoder: Encoder, remembered: Remembered, seed: int
    ) -> None:
        self._rgb = [picture.rgb().astype(np.float16) for picture in pictures]
        self._encoder = encoder
        self._remembered = remembered
        self._rng = np.random.default_rng((seed, 3))
        self._foreign = [make_texture(self._rng, FOREIGN_PX) for _ in range(FOREIGN_POOL)]

    def batches(self, size: int) -> Iterator[DefectBatch]:
        while True:
            yield self._batch(self._rng.integers(0, len(self._rgb), size))

    def _batch(self, places: NDArray[np.int64]) -> DefectBatch:
        crops, masks, levels = zip(*(self._crop(int(place)) for place in places), strict=True)
        rgb, level = np.stack(crops), np.stack(levels)
        asked = _features(self._encoder, rgb, level)
        cosine = torch.einsum("bdij,nd->bijn", asked, self._remembered.patches)
        own = torch.from_numpy(places)[:, None] == self._remembered.owners[None]
        cosine = cosine.masked_fill(own[:, None, None], -1.0).amax(3)
        distance = (1 - cosine).clamp_min(0)[:, None]
        return DefectBatch(_view(rgb, level), distance, torch.from_numpy(np.stack(masks)[:, None]))

    def _crop(self, place: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        rng = self._rng
        crop = _cut(rng, self._rgb[place])
        mask = np.zeros((CROP_PX, CROP_PX), bool)
        if rng.random() < FLAWED_SHARE:
            crop, mask = add_defects(rng, crop, self._filling(rng))
        gain, gamma = np.exp(rng.normal(0, 0.12)), np.exp(rng.normal(0, 0.08))
        whole = self._rgb[place][::4, ::4].mean(2, dtype=np.float32)
        whole = np.clip(whole * gain, 0, 1) ** gamma
        crop = np.clip(crop * np.float32(gain), 0, 1) ** np.float32(gamma)
        crop, mask = _turned(rng, crop, mask)
        level = np.array([whole.mean(), whole.std()], np.float32)
        return np.ascontiguousarray(crop.transpose(2, 0, 1)), mask.astype(np.float32), level

    def _filling(self, rng: Generator) -> NDArray[np.float32]:
        if rng.random() < FOREIGN_SHARE:
            return self._foreign[int(rng.integers(len(self._foreign)))]
        return _cut(rng, self._rgb[int(rng.integers(len(self._rgb)))])


def _cut(rng: Generator, whole: NDArray[np.float16]) -> NDArray[np.float32]:
    """A crop of `CROP_PX`; a picture that is smaller is mirrored."""
    height, width = whole.shape[:2]
    top, left = (int(rng.integers(0, max(1, side - CROP_PX + 1))) for side in (height, width))
    crop = whole[top : top + CROP_PX, left : left + CROP_PX].astype(np.float32)
    down, right = CROP_PX - crop.shape[0], CROP_PX - crop.shape[1]
    if not down and not right:
        return crop
    return np.asarray(cv2.copyMakeBorder(crop, 0, down, 0, right, cv2.BORDER_REFLECT), np.float32)


def _turned(
    rng: Generator, crop: NDArray[np.float32], mask: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    if rng.random() < 0.5:
        crop, mask = crop[:, ::-1], mask[:, ::-1]
    if rng.random() < 0.5:
        crop, mask = crop[::-1], mask[::-1]
    return crop, mask


def _features(encoder: Encoder, rgb: NDArray[np.float32], level: NDArray[np.float32]) -> Tensor:
    levels = torch.from_numpy(level)
    return encoder.crop_features(torch.from_numpy(rgb), levels[:, 0], levels[:, 1])


def _view(rgb: NDArray[np.float32], level: NDArray[np.float32]) -> Tensor:
    levels = torch.from_numpy(level)
    return normalised(torch.from_numpy(rgb), levels[:, 0], levels[:, 1])
