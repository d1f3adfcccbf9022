"""The bundled encoder: pictures in, patch features and one vector per picture out."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import pairwise
from pathlib import Path
from typing import TypeVar, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pipelines.errors import FrameRejected, InputRefused, RejectReason, StageUnavailable
from pipelines.frame import Picture, Pixels
from pipelines.localize.canvas import Canvas
from pipelines.localize.exposure import exposure_of
from pipelines.localize.surface_network import SurfaceFeatures, SurfaceNetwork, normalised
from pipelines.localize.tiles import Span, tiles

STRIDE_PX = 8  # of what is handed out; the network itself works down to 4 px
WHOLE_SIDE_PX = 256
SMALLEST_SIDE_PX = 32
RIM_CELLS = 2  # mirrored all around, then cut off: at the network's own border features are unlike any other
BUNDLED = "encoder.safetensors"
REACH_PX = 176  # no patch depends on more around it: 172 px, and cuts must lie on multiples of 16
_GRID_PX = 16  # the network's coarsest cells
_PIXELS_PER_PASS = 1_000_000  # keeps the activations of one pass below about 0.5 GB
_LARGEST_PASS = 1_500_000  # a picture that needs more is looked at in tiles

_Result = TypeVar("_Result")


class Encoder:
    """A frozen `SurfaceNetwork` with the SHA-256 of its weights file.

    Takes pictures of any size: mirrored at the rim, results cut back. What a picture
    gives does not depend on the others in the call (within 1e-4), nor on ``largest_pass``, the pixels above
    which it is looked at in tiles: each sees all that its patches depend on.
    """

    def __init__(
        self, network: SurfaceNetwork, digest: str, device: str = "cpu", *, largest_pass: int = _LARGEST_PASS
    ) -> None:
        self.digest = digest
        self.largest_pass = largest_pass
        self.device = device
        self.stride_px = STRIDE_PX
        _fold_normalisation(network.eval().requires_grad_(False))
        self._network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def patch_features(self, pictures: Sequence[Picture]) -> list[NDArray[np.float32]]:
        """float32 (ceil(height / 8), ceil(width / 8), 64) each, row by row; the 64 have unit length.

        Raises:
            FrameRejected: a side is shorter than 32 px.
            StageUnavailable: the device failed.
        """
        return [np.asarray(grid.cpu().numpy(), np.float32) for grid in self.patch_grids(pictures)]

    def patch_grids(self, pictures: Sequence[Picture]) -> list[Tensor]:
        """As `patch_features`, left on the device. Each is the mean of the network's own four 4 px cells."""

        def cut(seen: SurfaceFeatures, k: int, picture: Picture) -> Tensor:
            rows, columns = _grid_shape(picture)
            inner = _cells(seen, k)[RIM_CELLS : RIM_CELLS + rows, RIM_CELLS : RIM_CELLS + columns]
            return inner.contiguous()

        is_wide = [self._is_wide(each) for each in pictures]
        in_one = iter(
            self._each([each for each, wide in zip(pictures, is_wide, strict=True) if not wide], cut)
        )
        return [
            self._in_tiles(each) if wide else next(in_one)
            for each, wide in zip(pictures, is_wide, strict=True)
        ]

    def _is_wide(self, picture: Picture) -> bool:
        if min(picture.height_px, picture.width_px) < SMALLEST_SIDE_PX:
            return False
        canvas = _canvas(picture)
        return canvas.height * canvas.width > self.largest_pass

    def _in_tiles(self, picture: Picture) -> Tensor:
        """As `patch_grids`, of one picture, with no more than one tile's activations in memory."""
        rows, columns = _grid_shape(picture)
        grid = torch.empty((rows, columns, self._network.to_patches.out_channels), device=self.device)
        exposure, canvas = exposure_of(picture), _canvas(picture)
        values = torch.tensor([[exposure.mean], [exposure.deviation]], device=self.device)
        pieces = tiles(
            canvas.height, canvas.width, most_pixels=self.largest_pass, margin=REACH_PX, step=_GRID_PX
        )
        for tile in pieces:
            with _device_failures(self.device), torch.inference_mode():
                rgb = torch.from_numpy(canvas.part(tile).rgb()).to(self.device).permute(2, 0, 1)
                cells = _cells(self._features(rgb[None], *values), 0)
            down, here_down = _given(tile.rows, rows)
            right, here_right = _given(tile.columns, columns)
            grid[down, right] = cells[here_down, here_right]
        return grid

    def embedding(self, pictures: Sequence[Picture]) -> NDArray[np.float32]:
        """float32 (len(pictures), 128), each of unit length: cosine says how alike two pictures are.

        Large pictures are looked at from afar: what they show as a whole needs no detail, and costs a sixth.

        Raises: as `patch_features`.
        """

        def cut(seen: SurfaceFeatures, k: int, picture: Picture) -> NDArray[np.float32]:
            return np.asarray(seen.whole[k].cpu().numpy(), np.float32)

        rows = self._each([_from_afar(picture) for picture in pictures], cut)
        return np.stack(rows) if rows else np.zeros((0, self._network.to_whole.out_features), np.float32)

    def _each(
        self, pictures: Sequence[Picture], cut: Callable[[SurfaceFeatures, int, Picture], _Result]
    ) -> list[_Result]:
        """Pictures of one size go through the network together, as many at once as memory allows."""
        alike: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for k, picture in enumerate(pictures):
            _reject_too_small(picture)
            alike[picture.height_px, picture.width_px].append(k)
        results: dict[int, _Result] = {}
        for (height, width), members in alike.items():
            at_once = max(1, _PIXELS_PER_PASS // (height * width))
            for start in range(0, len(members), at_once):
                chosen = members[start : start + at_once]
                seen = self._see([pictures[k] for k in chosen])
                results |= {k: cut(seen, place, pictures[k]) for place, k in enumerate(chosen)}
        return [results[k] for k in range(len(pictures))]

    @torch.inference_mode()
    def _see(self, pictures: Sequence[Picture]) -> SurfaceFeatures:
        exposures = [exposure_of(picture) for picture in pictures]
        with _device_failures(self.device):
            rgb = torch.from_numpy(np.stack([picture.rgb() for picture in pictures])).to(self.device)
            means = torch.tensor([each.mean for each in exposures], device=self.device)
            deviations = torch.tensor([each.deviation for each in exposures], device=self.device)
            return self._features(_padded(rgb.permute(0, 3, 1, 2)), means, deviations)

    def _features(self, rgb: Tensor, means: Tensor, deviations: Tensor) -> SurfaceFeatures:
        x = normalised(rgb, means, deviations).contiguous(memory_format=torch.channels_last)
        seen = self._network(x)
        assert isinstance(seen, SurfaceFeatures)
        return seen


@contextmanager
def _device_failures(device: str) -> Iterator[None]:
    try:
        yield
    except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
        raise StageUnavailable(f"encoder on {device}: {error}") from error


def _cells(seen: SurfaceFeatures, k: int) -> Tensor:
    """(rows, columns, D) at `STRIDE_PX`, of all that was seen: means of four of the network's cells."""
    # With its first axis: of three axes alone the channels would be laid out anew, at 20 ms a frame.
    averaged = functional.avg_pool2d(seen.patches[k : k + 1], 2)[0].permute(1, 2, 0)
    return functional.normalize(averaged.contiguous(), dim=2)


def _grid_shape(picture: Picture) -> tuple[int, int]:
    return -(-picture.height_px // STRIDE_PX), -(-picture.width_px // STRIDE_PX)


def _canvas(picture: Picture) -> Canvas:
    """What `_padded` gives, for taking parts of it."""
    return Canvas(picture=picture, rim_px=RIM_CELLS * STRIDE_PX, step=_GRID_PX)


def _given(span: Span, cells: int) -> tuple[slice, slice]:
    """Where the span's cells lie on the picture's grid of so many, and where in what the tile saw."""
    first = max(0, span.first // STRIDE_PX - RIM_CELLS)
    end = min(cells, span.end // STRIDE_PX - RIM_CELLS)
    offset = RIM_CELLS - span.seen_first // STRIDE_PX
    return slice(first, end), slice(first + offset, end + offset)


def _reject_too_small(picture: Picture) -> None:
    if min(picture.height_px, picture.width_px) < SMALLEST_SIDE_PX:
        size = f"{picture.width_px}x{picture.height_px} px"
        raise FrameRejected(
            RejectReason.GEOMETRY_MISMATCH, f"{size} is smaller than one patch ({SMALLEST_SIDE_PX} px)"
        )


def _from_afar(picture: Picture) -> Picture:
    """Shrunk to at most ``WHOLE_SIDE_PX`` a side, but not below what the network takes."""
    _reject_too_small(picture)
    share = WHOLE_SIDE_PX / max(picture.height_px, picture.width_px)
    if share >= 1:
        return picture
    height, width = (
        max(SMALLEST_SIDE_PX, round(side * share)) for side in (picture.height_px, picture.width_px)
    )
    pixels = cv2.resize(picture.pixels, (width, height), interpolation=cv2.INTER_AREA)
    return Picture(pixels=cast("Pixels", pixels), bit_depth=picture.bit_depth)


def _padded(x: Tensor) -> Tensor:
    """Reflected by the rim all around, and on to multiples of 16 at the right and below."""
    rim = RIM_CELLS * STRIDE_PX
    down, right = rim + -x.shape[2] % 16, rim + -x.shape[3] % 16
    return functional.pad(x, (rim, right, rim, down), mode="reflect")


def _fold_normalisation(module: torch.nn.Module) -> None:
    """Merge every batch normalisation into the convolution before it: same result, a fifth less time."""
    for child in module.children():
        if isinstance(child, torch.nn.Sequential):
            layers = list(child)
            for k, (layer, after) in enumerate(pairwise(layers)):
                if isinstance(layer, torch.nn.Conv2d) and isinstance(after, torch.nn.BatchNorm2d):
                    child[k] = fuse_conv_bn_eval(layer, after)
                    child[k + 1] = torch.nn.Identity()
        _fold_normalisation(child)


def load_encoder(
    path: Path | None = None, *, device: str = "cpu", largest_pass: int = _LARGEST_PASS
) -> Encoder:
    """The encoder in `path`, or the bundled one.

    Raises:
        InputRefused: no such file, or it is no weights file of this network.
    """
    source, stored = _stored(path)
    digest = hashlib.sha256(stored).hexdigest()
    return Encoder(_network(source, stored), digest, device, largest_pass=largest_pass)


def _stored(path: Path | None) -> tuple[Path | Traversable, bytes]:
    source = path if path is not None else resources.files("pipelines.weights").joinpath(BUNDLED)
    try:
        return source, source.read_bytes()
    except OSError as error:
        raise InputRefused(
            f"encoder weights {source} cannot be read ({error}); train them: triad train encoder"
        ) from error


def _network(source: Path | Traversable, stored: bytes) -> SurfaceNetwork:
    network = SurfaceNetwork()
    try:
        tensors = {
            name: tensor.float() if tensor.is_floating_point() else tensor
            for name, tensor in load_tensors(stored).items()
        }
        network.load_state_dict(tensors)
    except (SafetensorError, RuntimeError) as error:
        raise InputRefused(f"encoder weights {source} do not fit this network: {error}") from error
    return network


def save_weights(network: SurfaceNetwork, path: Path, provenance: Mapping[str, str]) -> None:
    """Write safetensors, kernels in half precision, with what the weights were trained on in the header."""
    tensors = {
        name: (tensor.half() if tensor.ndim > 1 else tensor).detach().cpu().contiguous()
        for name, tensor in network.state_dict().items()
    }
    metadata = {"network": "SurfaceNetwork", "provenance": json.dumps(dict(provenance), sort_keys=True)}
    partial = path.with_suffix(".partial")
    partial.write_bytes(save_tensors(tensors, metadata))
    partial.replace(path)
