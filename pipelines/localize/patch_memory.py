"""The training-free expert: remember patches of normal frames, score by the distance to the nearest one.

After PatchCore (Roth et al. 2022, arXiv 2106.08265): greedy coreset over patch features, nearest
neighbour at inspection. Ours differs in that the encoder was trained for exactly this comparison, so
features are few (64), of unit length, on a grid of 4 px, and one distance scale serves all surfaces.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from pipelines.errors import InputRefused, StageUnavailable
from pipelines.frame import Picture
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.encoder import STRIDE_PX, Encoder

DEFAULT_SIZE = 2000
_CANDIDATES = 40_000  # patches the coreset is chosen from; more did not change scores
_ASKED_AT_ONCE = 2048  # patches compared in one go: 2048 x 4000 float32 is 33 MB
_FIT_AT_ONCE = 8  # pictures


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSettings:
    """How distances become a map; part of the digest."""

    smoothing_px: float = 2.0
    guess_share: float = 0.0  # weight of the encoder's reference-free guess beside the distance


@dataclass(frozen=True, slots=True, eq=False)
class PatchMemory:
    """A `Localizer` over remembered normal patches: float32 (n, 64), unit length, on the encoder's device."""

    encoder: Encoder
    patches: Tensor
    settings: MapSettings = MapSettings()
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        parts = hashlib.sha256(self.encoder.digest.encode())
        parts.update(json.dumps(asdict(self.settings), sort_keys=True).encode())
        parts.update(self.patches.cpu().numpy().tobytes())
        object.__setattr__(self, "digest", parts.hexdigest())

    @classmethod
    def fit(
        cls,
        pictures: Sequence[Picture],
        *,
        encoder: Encoder,
        size: int = DEFAULT_SIZE,
        seed: int = 0,
        settings: MapSettings = MapSettings(),
    ) -> "PatchMemory":
        """Remember at most `size` patches of normal pictures, from one picture upwards; same input, same memory.

        Raises:
            InputRefused: no pictures.
            FrameRejected, StageUnavailable: as the encoder does.
        """
        if not pictures:
            raise InputRefused("a patch memory needs at least one normal picture; none was given")
        candidates = _sampled_patches(pictures, encoder, seed)
        return cls(encoder, candidates[_coreset(candidates, size)].clone(), settings)

    def localize(self, pictures: Sequence[Picture]) -> list[AnomalyMap]:
        """As `Localizer` asks. Lines the camera did not deliver score 0: nobody looked at them."""
        grids = self.encoder.patch_grids([_delivered(picture) for picture in pictures])
        try:
            return [self._map(picture, *grid) for picture, grid in zip(pictures, grids, strict=True)]
        except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
            raise StageUnavailable(f"patch memory on {self.encoder.device}: {error}") from error

    @torch.inference_mode()
    def _map(self, picture: Picture, features: Tensor, guess: Tensor) -> AnomalyMap:
        distance = nearest_distance(features.flatten(0, 1), self.patches).reshape(guess.shape)
        if self.settings.guess_share:
            distance = distance + self.settings.guess_share * guess.sigmoid()
        on_pixels = functional.interpolate(distance[None, None], scale_factor=float(STRIDE_PX), mode="bilinear")
        scores = np.zeros((picture.height_px, picture.width_px), np.float32)
        smooth = _smoothed(on_pixels, self.settings.smoothing_px)[0, 0].cpu().numpy()
        rows = picture.height_px if picture.valid_lines is None else min(picture.valid_lines, picture.height_px)
        scores[:rows] = smooth[:rows, : picture.width_px]
        return AnomalyMap(scores)

    def save(self, path: Path) -> None:
        """One safetensors file; the encoder is named by its digest and not stored in it."""
        metadata = {"encoder": self.encoder.digest, "settings": json.dumps(asdict(self.settings), sort_keys=True)}
        save_file({"patches": self.patches.cpu().contiguous()}, path, metadata)

    @classmethod
    def load(cls, path: Path, encoder: Encoder) -> "PatchMemory":
        """What `save` wrote.

        Raises:
            InputRefused: the file is missing, is no patch memory, or was made with another encoder.
        """
        try:
            with safe_open(path, framework="pt") as stored:
                metadata, patches = stored.metadata() or {}, stored.get_tensor("patches")
            settings = MapSettings(**json.loads(metadata["settings"]))
            made_with = metadata["encoder"]
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise InputRefused(f"{path} is not a patch memory: {error}") from error
        if made_with != encoder.digest:
            raise InputRefused(
                f"{path} was made with encoder {made_with[:12]}, this one is {encoder.digest[:12]}: fit the product again"
            )
        return cls(encoder, patches.to(encoder.device), settings)


def _delivered(picture: Picture) -> Picture:
    if picture.is_complete:
        return picture
    return Picture(pixels=picture.pixels[: picture.valid_lines], bit_depth=picture.bit_depth)


def _sampled_patches(pictures: Sequence[Picture], encoder: Encoder, seed: int) -> Tensor:
    """Patches (n, 64) on the encoder's device, equally many of each picture as far as it has them."""
    rng, share = np.random.default_rng(seed), max(64, _CANDIDATES // len(pictures))
    chosen: list[Tensor] = []
    for start in range(0, len(pictures), _FIT_AT_ONCE):
        complete = [_delivered(picture) for picture in pictures[start : start + _FIT_AT_ONCE]]
        for features, _ in encoder.patch_grids(complete):
            flat = features.flatten(0, 1)
            places = np.sort(rng.permutation(len(flat))[:share])
            chosen.append(flat[torch.from_numpy(places).to(flat.device)])
    return torch.cat(chosen)


@torch.inference_mode()
def _coreset(candidates: Tensor, size: int) -> Tensor:
    """Indices of at most `size` rows: each next one is the farthest from those already chosen.

    PatchCore projects its 1024 features at random first; 64 features need none.
    """
    count = min(size, len(candidates))
    chosen = torch.zeros(count, dtype=torch.long, device=candidates.device)
    chosen[0] = (candidates @ candidates.mean(0)).argmax()
    nearest = candidates @ candidates[chosen[0]]
    for k in range(1, count):
        chosen[k] = nearest.argmin()
        torch.maximum(nearest, candidates @ candidates[chosen[k]], out=nearest)
    return chosen


@torch.inference_mode()
def nearest_distance(asked: Tensor, known: Tensor) -> Tensor:
    """1 - greatest cosine, 0 to 2, of each row of `asked` (m, D) to any row of `known` (n, D); bounded memory."""
    parts = [1 - (chunk @ known.T).amax(1) for chunk in asked.split(_ASKED_AT_ONCE)]
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


