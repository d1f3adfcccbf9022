"""Unlabelled pictures that judge others: what mutual scoring remembers of them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipelines.frame import Picture
from pipelines.localize.memory_file import Array
from pipelines.localize.patch_memory import delivered

_MOST_PATCHES = 1024  # of one picture
_LEAST_PATCHES = 64
_MOST_NUMBERS = 20_000_000  # 80 MB in all
_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reservoir:
    """S neighbourhoods, N pictures, n patches of all together, D features; on the features' device.

    ``patches`` (S, n, D) of unit length, those of one picture together: ``counts`` (N,) says how many each
    has. ``whole`` (N, D) is of unit length, ``scores`` (N,) is what the others say of each, ``marks`` (N, 32)
    a SHA-256 of what it shows.
    """

    patches: Tensor
    counts: NDArray[np.int64]
    whole: Tensor
    scores: Tensor
    marks: NDArray[np.uint8]

    @classmethod
    def of(cls, pictures: Sequence[Picture], grids: Sequence[Tensor], neighbourhoods: Sequence[int]) -> Self:
        """Nothing is said of the pictures yet: their scores are 0. Same input, same reservoir."""
        numbers = len(pictures) * len(neighbourhoods) * grids[0].shape[2]
        most = min(_MOST_PATCHES, max(_LEAST_PATCHES, _MOST_NUMBERS // numbers))
        rng = np.random.default_rng(_SEED)
        kept = [_some_patches(grid, neighbourhoods, most, rng) for grid in grids]
        return cls(
            patches=torch.cat(kept, 1),
            counts=np.array([each.shape[1] for each in kept], np.int64),
            whole=torch.stack([mean_patch(grid) for grid in grids]),
            scores=grids[0].new_zeros(len(pictures)),
            marks=np.stack([_mark(picture) for picture in pictures]),
        )

    def of_each(self, neighbourhood: int) -> Sequence[Tensor]:
        """The patches (n of one, D) of each picture."""
        groups: Sequence[Tensor] = self.patches[neighbourhood].split(self.counts.tolist())
        return groups

    def holds(self, picture: Picture) -> Tensor:
        """(N,) bool: which of its pictures is this very one. A picture never vouches for itself."""
        same = (self.marks == _mark(delivered(picture))).all(1)
        return torch.from_numpy(np.asarray(same)).to(self.whole.device)

    def arrays(self) -> dict[str, Array]:
        tensors = {"patches": self.patches, "whole": self.whole, "scores": self.scores}
        held = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
        return held | {"counts": self.counts, "marks": self.marks}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], device: str) -> Self:
        """What `arrays` gave. Raises ``KeyError`` where something is missing."""
        patches, whole, scores = (
            torch.from_numpy(arrays[name]).to(device) for name in ("patches", "whole", "scores")
        )
        return cls(
            patches=patches, counts=arrays["counts"], whole=whole, scores=scores, marks=arrays["marks"]
        )


def averaged(grid: Tensor, side: int) -> Tensor:
    """(rows, columns, D) of unit length: each patch averaged with those of a square of ``side`` around it."""
    if side == 1:
        return grid
    means = functional.avg_pool2d(
        grid.permute(2, 0, 1), side, stride=1, padding=side // 2, count_include_pad=False
    )
    return functional.normalize(means.permute(1, 2, 0), dim=2)


def mean_patch(grid: Tensor) -> Tensor:
    """(D,) of unit length: what a picture looks like as a whole."""
    return functional.normalize(grid.mean((0, 1)), dim=0)


def _some_patches(grid: Tensor, neighbourhoods: Sequence[int], most: int, rng: np.random.Generator) -> Tensor:
    """(S, at most ``most``, D): the same places at every neighbourhood."""
    places = torch.from_numpy(np.sort(rng.permutation(grid.shape[0] * grid.shape[1])[:most]))
    return torch.stack(
        [averaged(grid, side).flatten(0, 1)[places.to(grid.device)] for side in neighbourhoods]
    )


def _mark(picture: Picture) -> NDArray[np.uint8]:
    """The same for a picture however it is spelled: grey or the same grey in colour, eight bits or more."""
    pixels = picture.rgb8()
    digest = hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).digest()
    return np.frombuffer(digest, np.uint8)
