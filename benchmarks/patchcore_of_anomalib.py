"""anomalib's PatchCore over features that somebody else computed: its memory, search, weighting and map.

Nothing of anomalib is changed but the network it gets features from. Its 3 x 3 average over neighbouring
patches is part of how it prepares a network's features; ours are averages already, so it can be left out.
anomalib is no dependency of ours: `how_to_get` says where it comes from.
"""

import os
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

VERSION = "2.7.0"  # the newest on 2026-11-21; it resolves with all of constraints.txt
LAYER = "patches"
_MODEL = "anomalib.models.image.patchcore.torch_model"
_MOST_NEIGHBOURS, _SHARE = 9, 0.1  # its defaults


def is_installed() -> bool:
    return find_spec("anomalib") is not None


def how_to_get() -> str:
    return (
        "anomalib is not installed in this Python, so nothing was compared. It is no dependency of ours: "
        "make it an environment of its own,\n"
        "    python -m venv /tmp/anomalib\n"
        f"    /tmp/anomalib/bin/pip install -c constraints.txt '.[cpu]' anomalib=={VERSION}\n"
        "and name that Python:\n"
        "    python -m benchmarks.versus_patchcore --anomalib-python /tmp/anomalib/bin/python"
    )


class Given(nn.Module):
    """In the place of anomalib's network: gives the features that were put here for the coming call."""

    def __init__(self) -> None:
        super().__init__()
        self.grids: Sequence[Tensor] = ()

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        features = torch.stack(list(self.grids)).permute(0, 3, 1, 2)
        assert len(features) == len(pictures)
        return {LAYER: features}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnomalibPatchcore:
    """A fitted ``PatchcoreModel``."""

    model: Any
    given: Given

    @classmethod
    def fit(
        cls, grids: Sequence[Tensor], *, size: int | None, averages_neighbours: bool, seed: int = 0
    ) -> Self:
        """Remember ``size`` of the patches in ``grids``, each (rows, columns, D), by its own coreset.

        None remembers the share that it ships with.
        """
        given, model = _model(averages_neighbours=averages_neighbours)
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002  # what its random projection draws from
        model.train()
        # Its progress bars: a line for each of thousands of steps, where nobody watches.
        with torch.inference_mode(), Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
            for grid in grids:
                given.grids = [grid]
                model(torch.empty(1, 3, 8, 8))
            patches = sum(len(stored) for stored in model.embedding_store)
            wanted = _SHARE * patches if size is None else min(size, patches) + 0.5  # it rounds down
            model.subsample_embedding(wanted / patches)
        return cls(model=model.eval(), given=given)

    @classmethod
    def remembering(cls, patches: Tensor) -> Self:
        """With a memory (n, D) that was chosen elsewhere."""
        given, model = _model(averages_neighbours=False)
        model.memory_bank = patches
        return cls(model=model.eval(), given=given)

    @property
    def remembered(self) -> int:
        return int(self.model.memory_bank.shape[0])

    def score(
        self, grids: Sequence[Tensor], *, height_px: int, width_px: int
    ) -> tuple[list[float], list[NDArray[np.float32]]]:
        """Frame scores and maps (height, width) of pictures of one size."""
        self.given.grids = grids
        with torch.inference_mode():
            found = self.model(torch.empty(len(grids), 3, height_px, width_px))
        return found.pred_score.tolist(), [
            np.asarray(each[0], np.float32) for each in found.anomaly_map.numpy()
        ]


def _model(*, averages_neighbours: bool) -> tuple[Given, Any]:
    """An unfitted ``PatchcoreModel`` over features that are given."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its imports, not of what is measured
        # Its constructor wants a network by name; this one is the smallest and is thrown away.
        model = import_module(_MODEL).PatchcoreModel(
            layers=["layer1"], backbone="resnet18", pre_trained=False, num_neighbors=_MOST_NEIGHBOURS
        )
    given = Given()
    model.feature_extractor, model.layers = given, [LAYER]
    if not averages_neighbours:
        model.feature_pooler = nn.Identity()
    return given, model
