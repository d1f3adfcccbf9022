"""The trained expert: a network that learned, on a product's normal frames, which marks are defects.

After DRAEM (Zavrtanik et al. 2021, arXiv 2108.07610) in learning from defects made by formula only. Ours has
no part that rebuilds the picture; beside an expert that compares with normal frames it needs none.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Self, cast

import cv2
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

Logits = NDArray[np.float32]

SMALLEST_SIDE_PX = 32
REACH_PX = (
    512  # around a tile; what lies further off moves no score by 1e-3 (tests/unit/test_surface_expert.py)
)
_DEEP = 16  # bits
_LARGEST_PASS = 2_000_000  # pixels; a picture that has more is looked at in tiles


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfaceSettings:
    """How logits become a map; part of the digest."""

    mirrored_views: int = 4  # 1, or the mean of the four mirror images
    smoothing_cells: int = 3  # of 2 px: the side of the box that logits are averaged over
    scales: tuple[float, ...] = (1.0, 0.6)  # what is large and soft is seen from afar; the worst look counts


DEFAULT_SETTINGS = SurfaceSettings()


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceExpert:
    """A `Localizer` over a trained network. Scores are at least 0: softplus of the worst logit.

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
        exposure = exposure_of(shown)
        worst = np.full((height, width), -np.inf, np.float32)
        for scale in self.settings.scales:
            logits = self._logits(_scaled(shown, scale), exposure)
            np.maximum(worst, _on_pixels(logits, height, width), out=worst)
        scores = np.zeros((picture.height_px, width), np.float32)
        np.logaddexp(worst, np.float32(0), out=scores[:height])
        return AnomalyMap(scores)

    def _logits(self, shown: Picture, exposure: Exposure) -> Logits:
        """(height, width) of the picture, each of the network's cells drawn over its pixels."""
        logits = np.empty((shown.height_px, shown.width_px), np.float32)
        pieces = tiles(
            shown.height_px, shown.width_px, most_pixels=self.largest_pass, margin=REACH_PX, step=GRID_PX
        )
        for tile in pieces:
            rows, columns = tile.rows, tile.columns
            logits[rows.first : rows.end, columns.first : columns.end] = self._seen(shown, tile, exposure)
        return logits

    @torch.inference_mode()
    def _seen(self, shown: Picture, tile: Tile, exposure: Exposure) -> Logits:
        """Of what the tile gives."""
        rows, columns = tile.rows, tile.columns
        pixels = shown.pixels[rows.seen_first : rows.seen_end, columns.seen_first : columns.seen_end]
        height, width = pixels.shape[:2]
        try:
            rgb = torch.from_numpy(Picture(pixels=pixels, bit_depth=shown.bit_depth).rgb()).to(self.device)
            level = torch.tensor([[exposure.mean], [exposure.deviation]], device=self.device)
            # What is added is not looked at: any value does, and the nearest keeps local contrast as it is.
            sides = (0, -width % GRID_PX, 0, -height % GRID_PX)
            rgb = functional.pad(rgb.permute(2, 0, 1)[None], sides, mode="replicate")
            inside = functional.pad(torch.ones((1, 1, height, width), device=self.device), sides)
            logit = self._mean_logit(defect_view(rgb, level[0], level[1], inside))
            on_pixels = functional.interpolate(logit, scale_factor=float(OUTPUT_STRIDE_PX), mode="bilinear")
            found = on_pixels[0, 0].cpu().numpy()
        except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
            raise StageUnavailable(f"surface network on {self.device}: {error}") from error
        top, left = rows.first - rows.seen_first, columns.first - columns.seen_first
        inner = found[top : top + rows.end - rows.first, left : left + columns.end - columns.first]
        return np.asarray(inner, np.float32)

    def _mean_logit(self, x: Tensor) -> Tensor:
        """(B, 1, H/2, W/2): the mean over mirror images, smoothed."""
        mirrors: tuple[tuple[int, ...], ...] = ((), (3,), (2,), (2, 3))
        seen = (
            self.network(x.flip(axes).contiguous(memory_format=torch.channels_last)).flip(axes)
            for axes in mirrors[: self.settings.mirrored_views]
        )
        mean = sum(seen, torch.zeros((), device=x.device)) / self.settings.mirrored_views
        side = self.settings.smoothing_cells
        return functional.avg_pool2d(mean, side, 1, side // 2, count_include_pad=False)

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
        stored = json.loads(kept.words["settings"])
        settings = SurfaceSettings(**stored | {"scales": tuple(stored["scales"])})
        network = DefectNetwork()
        try:
            network.load_state_dict({name: torch.from_numpy(one) for name, one in kept.arrays.items()})
        except RuntimeError as error:
            raise ValueError(f"its network is another: {error}") from error
        return cls(network, device, settings)


def _scaled(picture: Picture, scale: float) -> Picture:
    """In sixteen bits, so that means of eight are not rounded to eight."""
    if scale == 1:
        return picture
    height, width = (max(1, round(side * scale)) for side in (picture.height_px, picture.width_px))
    deep = picture.pixels.astype(np.float32)
    deep *= (2**_DEEP - 1) / (2**picture.bit_depth - 1)
    np.rint(deep, out=deep)
    pixels = cv2.resize(deep.astype(np.uint16), (width, height), interpolation=cv2.INTER_AREA)
    return Picture(pixels=cast("Pixels", pixels), bit_depth=_DEEP)


def _on_pixels(logits: Logits, height: int, width: int) -> Logits:
    if logits.shape == (height, width):
        return logits
    return np.asarray(cv2.resize(logits, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
