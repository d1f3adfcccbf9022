"""The trained expert: a network that learned, on a product's normal frames, which marks are defects.

After DRAEM (Zavrtanik et al. 2021, arXiv 2108.07610) in learning from defects made by formula only. Ours has
no part that rebuilds the picture; beside an expert that compares with normal frames it needs none.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipelines.errors import FrameRejected, RejectReason, StageUnavailable
from pipelines.frame import Picture, Pixels
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.defect_network import GRID_PX, OUTPUT_STRIDE_PX, DefectNetwork, defect_view
from pipelines.localize.exposure import Exposure, exposure_of
from pipelines.localize.memory_file import MemoryTensors
from pipelines.localize.patch_memory import delivered
from pipelines.localize.tiles import Tile, tiles

SMALLEST_SIDE_PX = 32
REACH_PX = 320  # no score depends on more: the network sees 261 px far, its input and its map are smoothed
_LARGEST_PASS = 2_000_000  # pixels; a picture that has more is looked at in tiles


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfaceSettings:
    """How logits become a map; part of the digest."""

    smoothing_cells: int = 3  # of 2 px: the side of the box that logits are averaged over


DEFAULT_SETTINGS = SurfaceSettings()


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceExpert:
    """A `Localizer` over a trained network. Scores are above 0: softplus of the logit.

    ``largest_pass`` is the pixels above which a picture is looked at in tiles.
    """

    network: DefectNetwork
    device: str = "cpu"
    settings: SurfaceSettings = DEFAULT_SETTINGS
    largest_pass: int = _LARGEST_PASS
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        self.network.eval().requires_grad_(False)
        self.network.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        parts = hashlib.sha256(json.dumps(asdict(self.settings), sort_keys=True).encode())
        for name, tensor in sorted(self.network.state_dict().items()):
            parts.update(name.encode())
            parts.update(tensor.cpu().contiguous().numpy().tobytes())
        object.__setattr__(self, "digest", parts.hexdigest())

    def localize(self, pictures: Sequence[Picture]) -> list[AnomalyMap]:
        """As `Localizer` asks. Lines the camera did not deliver score 0: nobody looked at them."""
        return [self._map(picture) for picture in pictures]

    def _map(self, picture: Picture) -> AnomalyMap:
        shown = delivered(picture)
        height, width = shown.height_px, shown.width_px
        if min(height, width) < SMALLEST_SIDE_PX:
            raise FrameRejected(
                RejectReason.GEOMETRY_MISMATCH,
                f"{width}x{height} px is smaller than what is looked at as one ({SMALLEST_SIDE_PX} px)",
            )
        scores = np.zeros((picture.height_px, width), np.float32)
        exposure = exposure_of(shown)
        for tile in tiles(height, width, most_pixels=self.largest_pass, margin=REACH_PX, step=GRID_PX):
            rows, columns = tile.rows, tile.columns
            scores[rows.first : rows.end, columns.first : columns.end] = self._seen(shown, tile, exposure)
        return AnomalyMap(scores)

    @torch.inference_mode()
    def _seen(self, shown: Picture, tile: Tile, exposure: Exposure) -> NDArray[np.float32]:
        """Scores of what the tile gives."""
        rows, columns = tile.rows, tile.columns
        pixels = shown.pixels[rows.seen_first : rows.seen_end, columns.seen_first : columns.seen_end]
        try:
            view = self._view(Picture(pixels=pixels, bit_depth=shown.bit_depth), exposure)
            found = functional.softplus(self._logit(view))[0, 0].cpu().numpy()
        except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
            raise StageUnavailable(f"surface network on {self.device}: {error}") from error
        top, left = rows.first - rows.seen_first, columns.first - columns.seen_first
        inner = found[top : top + rows.end - rows.first, left : left + columns.end - columns.first]
        return np.asarray(inner, np.float32)

    def _view(self, seen: Picture, exposure: Exposure) -> Tensor:
        """(1, 5, H, W), sides made up to whole cells. What is added lies right and below, as in training."""
        height, width = seen.height_px, seen.width_px
        below, right = -height % GRID_PX, -width % GRID_PX
        # What is added is not looked at: any value does, and the nearest keeps local contrast as it is.
        colours = ((0, 0),) * (seen.pixels.ndim - 2)
        padded = np.pad(seen.pixels, ((0, below), (0, right), *colours), mode="edge")
        whole = Picture(pixels=cast("Pixels", padded), bit_depth=seen.bit_depth)
        rgb = torch.from_numpy(whole.rgb()).to(self.device).permute(2, 0, 1)[None]
        inside = functional.pad(torch.ones((1, 1, height, width), device=self.device), (0, right, 0, below))
        level = torch.tensor([[exposure.mean], [exposure.deviation]], device=self.device)
        return defect_view(rgb, level[0], level[1], inside)

    def _logit(self, view: Tensor) -> Tensor:
        """(1, 1, H, W), smoothed."""
        logit = self.network(view)
        side = self.settings.smoothing_cells
        smooth = functional.avg_pool2d(logit, side, 1, side // 2, count_include_pad=False)
        return functional.interpolate(smooth, scale_factor=float(OUTPUT_STRIDE_PX), mode="bilinear")

    def tensors(self) -> MemoryTensors:
        """The network itself: it is the product's own."""
        return MemoryTensors(
            arrays={name: one.cpu().numpy() for name, one in self.network.state_dict().items()},
            words={"settings": json.dumps(asdict(self.settings), sort_keys=True)},
        )

    @classmethod
    def restored(cls, kept: MemoryTensors, *, device: str) -> Self:
        """What `tensors` gave.

        Raises:
            KeyError, TypeError, ValueError: It is no surface expert.
        """
        settings = SurfaceSettings(**json.loads(kept.words["settings"]))
        network = DefectNetwork()
        try:
            network.load_state_dict({name: torch.from_numpy(one) for name, one in kept.arrays.items()})
        except RuntimeError as error:
            raise ValueError(f"its network is another: {error}") from error
        return cls(network, device, settings)
