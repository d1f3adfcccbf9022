"""The trained expert: a network that has learned, on defects made by formula, which deviations are defects.

After DRAEM (Zavrtanik et al. 2021, arXiv 2108.07610) in learning from made defects only. Ours is told, beside
the picture, how far each patch is from the nearest patch of a normal frame, so that one network serves
products it never saw; refined on a product's own normals it serves that one better.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Self

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor
from torch.nn import functional

from pipelines.errors import InputRefused, StageUnavailable
from pipelines.frame import Picture
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.defect_network import COMPARED_STRIDE_PX, DefectNetwork
from pipelines.localize.encoder import Encoder
from pipelines.localize.experts import SURFACE_WEIGHTS
from pipelines.localize.memory_file import MemoryTensors, opened_memory, require_made_with, write_memory
from pipelines.localize.patch_memory import delivered, nearest_distance, remember
from pipelines.localize.surface_network import normalised

BUNDLED = SURFACE_WEIGHTS
RIM_PX = 16  # mirrored all around, then cut off
_PIXELS_PER_PASS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfaceSettings:
    """How logits become a map; part of the digest."""

    mirrored_views: int = 4  # 1, or the mean of the four mirror images
    smoothing_cells: int = 3  # of 2 px: the side of the box that logits are averaged over


DEFAULT_SETTINGS = SurfaceSettings()


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceExpert:
    """A `Localizer` over remembered patches (n, D) of unit length and a network, on the encoder's device.

    Scores are at least 0: softplus of the network's logit.
    """

    encoder: Encoder
    patches: Tensor
    network: DefectNetwork
    settings: SurfaceSettings = DEFAULT_SETTINGS
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        self.network.eval().requires_grad_(False)
        self.network.to(device=self.encoder.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        parts = hashlib.sha256(self.encoder.digest.encode())
        parts.update(json.dumps(asdict(self.settings), sort_keys=True).encode())
        parts.update(self.patches.cpu().numpy().tobytes())
        for name, tensor in sorted(self.network.state_dict().items()):
            parts.update(name.encode())
            parts.update(tensor.cpu().contiguous().numpy().tobytes())
        object.__setattr__(self, "digest", parts.hexdigest())

    @classmethod
    def fit(cls, pictures: Sequence[Picture], *, encoder: Encoder, network: DefectNetwork) -> Self:
        """Remember patches of one or more normal pictures, as the patch memory does; the network is as given.

        Raises: as `remember`.
        """
        return cls(encoder, remember(pictures, encoder=encoder).patches, network)

    def localize(self, pictures: Sequence[Picture]) -> list[AnomalyMap]:
        """As `Localizer` asks. Lines the camera did not deliver score 0: nobody looked at them."""
        complete = [delivered(picture) for picture in pictures]
        grids = self.encoder.patch_grids(complete)
        alike: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for k, picture in enumerate(complete):
            alike[picture.height_px, picture.width_px].append(k)
        maps: dict[int, AnomalyMap] = {}
        for (height, width), members in alike.items():
            at_once = max(1, _PIXELS_PER_PASS // (height * width))
            for start in range(0, len(members), at_once):
                chosen = members[start : start + at_once]
                scores = self._scores([complete[k] for k in chosen], [grids[k] for k in chosen])
                maps |= {k: _on_frame(pictures[k], one) for k, one in zip(chosen, scores, strict=True)}
        return [maps[k] for k in range(len(pictures))]

    @torch.inference_mode()
    def _scores(self, pictures: Sequence[Picture], grids: Sequence[Tensor]) -> Tensor:
        """(B, height, width) of pictures of one size."""
        try:
            rgb = torch.from_numpy(np.stack([picture.rgb() for picture in pictures])).to(self.encoder.device)
            rgb = rgb.permute(0, 3, 1, 2)
            grey = rgb.mean(1).flatten(1)
            rows, columns = grids[0].shape[:2]
            distance = torch.stack(
                [nearest_distance(grid.flatten(0, 1), self.patches).reshape(rows, columns) for grid in grids]
            )[:, None]
            x = normalised(_padded(rgb), grey.mean(1), grey.std(1, correction=0))
            cells = RIM_PX // COMPARED_STRIDE_PX
            down = x.shape[2] // COMPARED_STRIDE_PX - rows - cells
            right = x.shape[3] // COMPARED_STRIDE_PX - columns - cells
            distance = functional.pad(distance, (cells, right, cells, down), mode="replicate")
            logit = self._logit(x, distance)
        except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
            raise StageUnavailable(f"surface network on {self.encoder.device}: {error}") from error
        height, width = rgb.shape[2:]
        on_pixels = functional.interpolate(logit, size=x.shape[2:], mode="bilinear")
        inner = on_pixels[:, 0, RIM_PX : RIM_PX + height, RIM_PX : RIM_PX + width]
        return functional.softplus(inner)

    def _logit(self, x: Tensor, distance: Tensor) -> Tensor:
        """(B, 1, H/2, W/2): the mean over mirror images, smoothed."""
        mirrors: tuple[tuple[int, ...], ...] = ((), (3,), (2,), (2, 3))
        total = torch.zeros(())
        for axes in mirrors[: self.settings.mirrored_views]:
            seen = self.network(
                x.flip(axes).contiguous(memory_format=torch.channels_last), distance.flip(axes)
            )
            total = total + seen.flip(axes)
        side = self.settings.smoothing_cells
        mean = total / self.settings.mirrored_views
        return functional.avg_pool2d(mean, side, 1, side // 2, count_include_pad=False)

    def tensors(self) -> MemoryTensors:
        """Patches and network; the encoder is named by its digest and not among them."""
        arrays = {f"network/{name}": one.cpu().numpy() for name, one in self.network.state_dict().items()}
        settings = json.dumps(asdict(self.settings), sort_keys=True)
        return MemoryTensors(
            arrays=arrays | {"patches": self.patches.cpu().numpy()},
            words={"encoder": self.encoder.digest, "settings": settings},
        )

    @classmethod
    def restored(cls, kept: MemoryTensors, encoder: Encoder) -> Self:
        """What `tensors` gave.

        Raises:
            InputRefused: It was made with another encoder.
            KeyError, TypeError, ValueError: It is no surface expert.
        """
        require_made_with(kept, encoder.digest)
        settings = SurfaceSettings(**json.loads(kept.words["settings"]))
        patches = torch.from_numpy(kept.arrays["patches"]).to(encoder.device)
        weights = {name: torch.from_numpy(one) for name, one in kept.only("network").arrays.items()}
        network = DefectNetwork()
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(f"its network is another: {error}") from error
        return cls(encoder, patches, network, settings)

    def save(self, path: Path) -> None:
        write_memory(path, self.tensors())

    @classmethod
    def load(cls, path: Path, encoder: Encoder) -> Self:
        """What `save` wrote.

        Raises:
            InputRefused: the file is missing, is no surface expert, or was made with another encoder.
        """
        with opened_memory(path, "a surface expert") as kept:
            return cls.restored(kept, encoder)


def _on_frame(picture: Picture, delivered_scores: Tensor) -> AnomalyMap:
    scores = np.zeros((picture.height_px, picture.width_px), np.float32)
    scores[: delivered_scores.shape[0]] = delivered_scores.cpu().numpy()
    return AnomalyMap(scores)


def _padded(rgb: Tensor) -> Tensor:
    """Mirrored by the rim all around, and on to multiples of 16 at the right and below."""
    down, right = RIM_PX + -rgb.shape[2] % 16, RIM_PX + -rgb.shape[3] % 16
    return functional.pad(rgb, (RIM_PX, right, RIM_PX, down), mode="reflect")


def load_defect_network(path: Path | None = None) -> DefectNetwork:
    """The network in `path`, or the bundled one.

    Raises:
        InputRefused: no such file, or it is no weights file of this network.
    """
    source = path if path is not None else resources.files("pipelines.weights").joinpath(BUNDLED)
    network = DefectNetwork()
    try:
        tensors = load_tensors(source.read_bytes())
        network.load_state_dict(
            {name: one.float() if one.is_floating_point() else one for name, one in tensors.items()}
        )
    except OSError as error:
        raise InputRefused(
            f"surface weights {source} cannot be read ({error}); train them: triad train surface"
        ) from error
    except (SafetensorError, RuntimeError) as error:
        raise InputRefused(f"surface weights {source} do not fit this network: {error}") from error
    return network


def save_defect_network(network: DefectNetwork, path: Path, provenance: dict[str, str]) -> None:
    """Write safetensors, kernels in half precision, with what they were trained on in the header."""
    tensors = {
        name: (tensor.half() if tensor.ndim > 1 else tensor).detach().cpu().contiguous()
        for name, tensor in network.state_dict().items()
    }
    metadata = {"network": "DefectNetwork", "provenance": json.dumps(provenance, sort_keys=True)}
    partial = path.with_suffix(".partial")
    partial.write_bytes(save_tensors(tensors, metadata))
    partial.replace(path)
