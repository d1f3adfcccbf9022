"""What a defect network is shown: pieces of normal pictures, most of them with defects made by formula."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from pipelines.frame import Picture
from pipelines.learn.texture_defects import add_defect
from pipelines.learn.textures import make_texture, smooth_noise
from pipelines.localize.exposure import exposure_of

CROP_PX = 256
FOREIGN_POOL = 24  # surfaces made by formula, to fill defects with
FOREIGN_SHARE = 0.35  # of the fillings that come from those; the rest from the product's own pictures
FLAWED_SHARE = 0.65
_DEFECTS, _DEFECT_SHARES = (1, 2, 3), (0.65, 0.25, 0.1)

_Rgb = NDArray[np.float32]


class DefectCrop(NamedTuple):
    """One piece, or with a first axis B a batch of them."""

    rgb: Tensor  # (3, H, W) in 0..1
    level: Tensor  # (2,): mean and deviation of the whole picture's grey
    mask: Tensor  # (1, H, W) in 0..1: where a defect can be seen
    inside: Tensor  # (1, H, W): 1 where there is a picture, 0 beside one that is smaller than the piece


class DefectCrops(IterableDataset[DefectCrop]):
    """Endless pieces of a product's normal pictures; the same seed gives the same ones.

    Turned over, lit otherwise, a little larger or smaller: none of which is a defect.
    """

    def __init__(self, pictures: Sequence[Picture], *, seed: int) -> None:
        self._pictures = tuple(pictures)
        self._seed = seed

    def __iter__(self) -> Iterator[DefectCrop]:
        worker = get_worker_info()
        if worker is not None:
            cv2.setNumThreads(1)  # the trainer has the other cores
        rng = np.random.default_rng((self._seed, 0 if worker is None else worker.id))
        levels = [exposure_of(picture) for picture in self._pictures]
        foreign = [make_texture(rng, CROP_PX) for _ in range(FOREIGN_POOL)]
        while True:
            place = int(rng.integers(len(self._pictures)))
            level = np.array([levels[place].mean, levels[place].deviation], np.float32)
            yield self._crop(rng, self._pictures[place], level, foreign)

    def _crop(
        self, rng: Generator, picture: Picture, level: NDArray[np.float32], foreign: Sequence[_Rgb]
    ) -> DefectCrop:
        rgb, (height, width) = _piece(rng, picture)
        if rng.random() < 0.5:
            rgb = rgb * _light(rng)
        mask = np.zeros((CROP_PX, CROP_PX), bool)
        if rng.random() < FLAWED_SHARE:
            other = self._filling(rng, foreign)
            for _ in range(int(rng.choice(_DEFECTS, p=_DEFECT_SHARES))):
                rgb, seen = add_defect(rng, rgb, other)
                mask |= seen
        rgb, level = _exposed(rng, rgb, level)
        inside = np.zeros((CROP_PX, CROP_PX), np.float32)
        inside[:height, :width] = 1
        return DefectCrop(
            rgb=torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1))),
            level=torch.from_numpy(level),
            mask=torch.from_numpy((mask * inside)[None]),
            inside=torch.from_numpy(inside[None]),
        )

    def _filling(self, rng: Generator, foreign: Sequence[_Rgb]) -> _Rgb:
        if rng.random() < FOREIGN_SHARE:
            return foreign[int(rng.integers(len(foreign)))]
        return _piece(rng, self._pictures[int(rng.integers(len(self._pictures)))])[0]


def _piece(rng: Generator, picture: Picture) -> tuple[_Rgb, tuple[int, int]]:
    """(`CROP_PX`, `CROP_PX`, 3) and how much of it, at the top left, is picture: the rest is mirrored."""
    down = across = 1.0
    if rng.random() < 0.5:
        down = float(np.exp(rng.normal(0, 0.2)))
        across = down * float(np.exp(rng.normal(0, 0.05)))
    rows, height = _span(rng, picture.height_px, down)
    columns, width = _span(rng, picture.width_px, across)
    rgb = Picture(pixels=picture.pixels[rows, columns], bit_depth=picture.bit_depth).rgb()
    if rng.random() < 0.5:
        rgb = rgb[:, ::-1]
    if rng.random() < 0.5:
        rgb = rgb[::-1]
    way = cv2.INTER_AREA if down < 1 else cv2.INTER_LINEAR
    sized = cv2.resize(np.ascontiguousarray(rgb), (width, height), interpolation=way)
    filled = cv2.copyMakeBorder(sized, 0, CROP_PX - height, 0, CROP_PX - width, cv2.BORDER_REFLECT)
    return np.asarray(filled, np.float32), (height, width)


def _span(rng: Generator, side: int, scale: float) -> tuple[slice, int]:
    """A part of a side that is at most `CROP_PX` long when drawn at this scale, and how long it is then."""
    length = min(side, max(1, round(CROP_PX / scale)))
    first = int(rng.integers(side - length + 1))
    return slice(first, first + length), min(CROP_PX, max(1, round(length * scale)))


def _light(rng: Generator) -> _Rgb:
    """(`CROP_PX`, `CROP_PX`, 1): uneven and smooth, which is no defect."""
    field = smooth_noise(rng, CROP_PX, rng.uniform(40, 120))
    return (1 + np.float32(rng.uniform(0, 0.25)) * (2 * field - 1))[:, :, None]


def _exposed(rng: Generator, rgb: _Rgb, level: NDArray[np.float32]) -> tuple[_Rgb, NDArray[np.float32]]:
    """As another exposure, camera and focus would show it, and about what its level is then."""
    gain, gamma = np.exp(rng.normal(0, 0.12)), np.exp(rng.normal(0, 0.1))
    rgb = np.clip(rgb * np.float32(gain), 0, 1) ** np.float32(gamma)
    if rng.random() < 0.3:
        rgb = rgb + rng.normal(0, rng.uniform(0, 0.012), rgb.shape[:2]).astype(np.float32)[:, :, None]
    if rng.random() < 0.15:
        rgb = np.asarray(cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.3, 0.9)), np.float32)
    mean = level[0] * gain
    slope = gain * gamma * max(mean, 0.05) ** (gamma - 1)
    return np.asarray(rgb, np.float32), np.array([mean**gamma, level[1] * slope], np.float32)
