"""Patch features from the middle of a large vision transformer, at the frame's own resolution."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.errors import StageUnavailable
from pipelines.frame import Picture
from pipelines.localize.backbone import Backbone
from pipelines.localize.features import reject_too_small

_PATCHES_PER_PASS = 8192


class JoinLayers(StrEnum):
    MEAN = "mean"  # as SubspaceAD; as many numbers as one layer has
    CONCATENATED = "concatenated"  # as PatchCore; told apart by more, and slower


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRule:
    """Which layers are looked at, counted from 1; none means the upper half. Part of the digest.

    What the last layers say is about the picture as a whole, what the first say is about edges; published
    methods look at the upper half (SubspaceAD) or at a few in between (MuSc: every quarter).
    """

    layers: tuple[int, ...] = ()
    join: JoinLayers = JoinLayers.MEAN


UPPER_HALF = LayerRule()


class VitFeatures:
    """`PatchFeatures` of DINOv2, DINOv3 and CLIP vision transformers.

    A picture is mirrored at the right and below to whole patches, so cell (i, j) is what lies on the frame's
    pixels from (i × stride, j × stride) on; position embeddings are interpolated as the library does. Each
    layer's tokens are brought to unit length before layers are joined, and again after.
    """

    def __init__(self, backbone: Backbone, rule: LayerRule = UPPER_HALF) -> None:
        whole: Any = backbone.model
        network: nn.Module = whole.vision_model if backbone.kind == "clip" else whole
        config: Any = network.config
        self._network = network
        self._backbone = backbone
        self._rule = rule
        self._layers = rule.layers or tuple(
            range(config.num_hidden_layers // 2 + 1, config.num_hidden_layers + 1)
        )
        side = config.patch_size
        self.stride_px = int(side if isinstance(side, int) else side[0])
        self.device = backbone.device
        settings = json.dumps([asdict(rule), self.stride_px], sort_keys=True)
        self.digest = hashlib.sha256(f"{backbone.digest}{settings}".encode()).hexdigest()

    def patch_grids(self, pictures: Sequence[Picture]) -> list[Tensor]:
        """As ``PatchFeatures`` asks; D is the width of a layer, or of all together where they are
        concatenated."""
        alike: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for k, picture in enumerate(pictures):
            reject_too_small(picture)
            alike[picture.height_px, picture.width_px].append(k)
        grids: dict[int, Tensor] = {}
        for (height, width), members in alike.items():
            at_once = max(1, _PATCHES_PER_PASS * self.stride_px**2 // (height * width))
            for start in range(0, len(members), at_once):
                chosen = members[start : start + at_once]
                grids |= dict(zip(chosen, self._grids([pictures[k] for k in chosen]), strict=True))
        return [grids[k] for k in range(len(pictures))]

    @torch.inference_mode()
    def _grids(self, pictures: Sequence[Picture]) -> Tensor:
        """(B, rows, columns, D) of pictures of one size."""
        down, right = -pictures[0].height_px % self.stride_px, -pictures[0].width_px % self.stride_px
        padded = [
            np.pad(picture.rgb(), ((0, down), (0, right), (0, 0)), mode="symmetric") for picture in pictures
        ]
        try:
            rgb = torch.from_numpy(np.stack(padded)).to(self.device).permute(0, 3, 1, 2)
            tokens = self.tokens(self._backbone.normalised(rgb))
        except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
            raise StageUnavailable(f"backbone on {self.device}: {error}") from error
        rows, columns = rgb.shape[2] // self.stride_px, rgb.shape[3] // self.stride_px
        layers = [functional.normalize(tokens[layer], dim=2) for layer in self._layers]
        if self._rule.join is JoinLayers.CONCATENATED:
            joined = torch.cat(layers, 2)
        else:
            joined = torch.stack(layers).mean(0)
        return functional.normalize(joined, dim=2).reshape(len(pictures), rows, columns, -1)

    def tokens(self, x: Tensor) -> dict[int, Tensor]:
        """{layer: patch tokens (B, rows × columns, D)} of pictures (B, 3, H, W) as the model sees them."""
        patches = (x.shape[2] // self.stride_px) * (x.shape[3] // self.stride_px)
        interpolates = {"interpolate_pos_encoding": True} if self._backbone.kind.startswith("clip") else {}
        seen: Any = self._network(pixel_values=x, output_hidden_states=True, **interpolates)
        # Before the first layer there is one state; a class token and registers come before the patches.
        return {layer: seen.hidden_states[layer][:, -patches:] for layer in self._layers}
