"""The training-free expert: remember patches of normal frames, score by the distance to the nearest one.

After PatchCore (Roth et al. 2022, arXiv 2106.08265): greedy coreset over locally averaged patch
features, nearest neighbour at inspection. Two things differ. The encoder was trained for exactly this
comparison, so features are few (64) and of unit length. And each remembered patch knows how far normal
patches of *other* pictures usually are from it, so that a busy place does not outshout a quiet one.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from pipelines.errors import InputRefused, StageUnavailable
from pipelines.frame import Picture
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.coreset import Sample, Spread, greedy_coreset, rings, spread_of_normal
from pipelines.localize.features import PatchFeatures

DEFAULT_SIZE = 3000
_ASKED_AT_ONCE = 2048  # patches compared in one go: 2048 x 4000 float32 is 33 MB
_FIT_AT_ONCE = 8  # pictures
_CANDIDATES = 20_000  # patches the coreset is chosen from
_ONE_IN_FOUR = 4  # below this many pictures, quarters of a picture stand in for other pictures


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSettings:
    """How distances become a map; part of the digest."""

    smoothing_px: float = 8.0


DEFAULT_SETTINGS = MapSettings()


@dataclass(frozen=True, slots=True, eq=False)
class PatchMemory:
    """A `Localizer`: distances in units of what is usual there. ``patches`` is (n, 64), of unit length."""

    encoder: PatchFeatures
    patches: Tensor
    spread: Spread
    settings: MapSettings = DEFAULT_SETTINGS
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        parts = hashlib.sha256(self.encoder.digest.encode())
        parts.update(json.dumps(asdict(self.settings), sort_keys=True).encode())
        for tensor in (self.patches, self.spread.usual, self.spread.rim):
            parts.update(tensor.cpu().numpy().tobytes())
        object.__setattr__(self, "digest", parts.hexdigest())

    @classmethod
    def fit(
        cls,
        pictures: Sequence[Picture],
        *,
        encoder: PatchFeatures,
        size: int = DEFAULT_SIZE,
        seed: int = 0,
        settings: MapSettings = DEFAULT_SETTINGS,
    ) -> Self:
        """Remember at most `size` patches of one or more normal pictures; same input, same memory.

        Raises:
            InputRefused: no pictures.
            FrameRejected, StageUnavailable: as the encoder does.
        """
        if not pictures:
            raise InputRefused("a patch memory needs at least one normal picture; none was given")
        sample = _sampled_patches(pictures, encoder, seed)
        chosen = greedy_coreset(sample.patches, size)
        return cls(encoder, sample.patches[chosen].clone(), spread_of_normal(sample, chosen), settings)

    def localize(self, pictures: Sequence[Picture]) -> list[AnomalyMap]:
        """As `Localizer` asks. Lines the camera did not deliver score 0: nobody looked at them."""
        grids = self.encoder.patch_grids([_delivered(picture) for picture in pictures])
        try:
            return [self._map(picture, grid) for picture, grid in zip(pictures, grids, strict=True)]
        except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
            raise StageUnavailable(f"patch memory on {self.encoder.device}: {error}") from error

    @torch.inference_mode()
    def _map(self, picture: Picture, grid: Tensor) -> AnomalyMap:
        distance = relative_distance(grid.flatten(0, 1), self.patches, self.spread.usual)
        ring = rings(*grid.shape[:2]).to(grid.device)
        distance = distance.reshape(ring.shape) / self.spread.rim[ring]
        on_pixels = functional.interpolate(
            distance[None, None], scale_factor=float(self.encoder.stride_px), mode="bilinear"
        )
        smooth = _smoothed(on_pixels, self.settings.smoothing_px)[0, 0].cpu().numpy()
        scores = np.zeros((picture.height_px, picture.width_px), np.float32)
        rows = (
            picture.height_px if picture.valid_lines is None else min(picture.valid_lines, picture.height_px)
        )
        scores[:rows] = smooth[:rows, : picture.width_px]
        return AnomalyMap(scores)

    def save(self, path: Path) -> None:
        """One safetensors file; the encoder is named by its digest and not stored in it."""
        metadata = {
            "encoder": self.encoder.digest,
            "settings": json.dumps(asdict(self.settings), sort_keys=True),
        }
        tensors = {"patches": self.patches, "usual": self.spread.usual, "rim": self.spread.rim}
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, path, metadata)

    @classmethod
    def load(cls, path: Path, encoder: PatchFeatures) -> Self:
        """What `save` wrote.

        Raises:
            InputRefused: the file is missing, is no patch memory, or was made with another encoder.
        """
        try:
            with safe_open(path, framework="pt") as stored:
                metadata = stored.metadata() or {}
                patches, usual, rim = (
                    stored.get_tensor(name).to(encoder.device) for name in ("patches", "usual", "rim")
                )
            settings, made_with = MapSettings(**json.loads(metadata["settings"])), metadata["encoder"]
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise InputRefused(f"{path} is not a patch memory: {error}") from error
        if made_with != encoder.digest:
            this = f"this one is {encoder.digest[:12]}"
            raise InputRefused(
                f"{path} was made with encoder {made_with[:12]}, {this}: fit the product again"
            )
        return cls(encoder, patches, Spread(usual, rim), settings)


def _delivered(picture: Picture) -> Picture:
    if picture.is_complete:
        return picture
    return Picture(pixels=picture.pixels[: picture.valid_lines], bit_depth=picture.bit_depth)


def _sampled_patches(pictures: Sequence[Picture], encoder: PatchFeatures, seed: int) -> Sample:
    """Equally many patches of each picture, as far as it has them, and where each one is from."""
    rng, share = np.random.default_rng(seed), max(64, _CANDIDATES // len(pictures))
    patches: list[Tensor] = []
    sources: list[Tensor] = []
    depths: list[Tensor] = []
    for start in range(0, len(pictures), _FIT_AT_ONCE):
        complete = [_delivered(picture) for picture in pictures[start : start + _FIT_AT_ONCE]]
        for number, grid in enumerate(encoder.patch_grids(complete), start):
            places = torch.from_numpy(np.sort(rng.permutation(grid.shape[0] * grid.shape[1])[:share])).to(
                grid.device
            )
            patches.append(grid.flatten(0, 1)[places])
            depths.append(rings(*grid.shape[:2]).to(grid.device).flatten()[places])
            row, column = places // grid.shape[1], places % grid.shape[1]
            quarter = (row * 2 // grid.shape[0]) * 2 + column * 2 // grid.shape[1]
            few = len(pictures) < _ONE_IN_FOUR
            sources.append(number * 4 + quarter if few else torch.full_like(places, number))
    return Sample(torch.cat(patches), torch.cat(sources), torch.cat(depths))


@torch.inference_mode()
def relative_distance(asked: Tensor, known: Tensor, usual: Tensor) -> Tensor:
    """Least (1 - cosine) / usual of each row of `asked` (m, D) to any of `known` (n, D); bounded memory."""
    weighted, offset = (known / usual[:, None]).T.contiguous(), 1 / usual
    parts = [torch.addmm(offset, chunk, weighted, alpha=-1).amin(1) for chunk in asked.split(_ASKED_AT_ONCE)]
    return torch.cat(parts).clamp_min(0)


def _smoothed(scores: Tensor, sigma_px: float) -> Tensor:
    """Gaussian blur of (1, 1, H, W), mirrored at the rim."""
    if sigma_px <= 0:
        return scores
    reach = min(int(3 * sigma_px + 0.5), scores.shape[2] - 1, scores.shape[3] - 1)
    steps = torch.arange(-reach, reach + 1, device=scores.device, dtype=scores.dtype)
    kernel = torch.exp(-0.5 * (steps / sigma_px).square())
    kernel = kernel / kernel.sum()
    padded = functional.pad(scores, (reach, reach, reach, reach), mode="reflect")
    across = functional.conv2d(padded, kernel[None, None, None])
    return functional.conv2d(across, kernel[None, None, :, None])
