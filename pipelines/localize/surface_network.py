"""The network behind the bundled encoder: a small residual pyramid, trained from scratch.

Letters in shapes: B pictures, C channels, H and W pixels (multiples of 16), D features.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = (24, 48, 96, 128)  # at strides 2, 4, 8 and 16
INPUT_CHANNELS = 4  # normalised red, green, blue; locally normalised grey
LOCAL_WINDOW = 7  # cells of 4 px, averaged twice
CONTRAST_FLOOR = 0.02  # of full scale: sensor noise on a plain surface must not be blown up to structure


class SurfaceFeatures(NamedTuple):
    """What one pass gives."""

    patches: Tensor  # (B, D, H/4, W/4), unit length along D: cosine tells same surface from other
    defect_logit: Tensor  # (B, 1, H/4, W/4), a guess that needs no reference
    middle: Tensor  # (B, 96, H/8, W/8), activations
    whole: Tensor  # (B, 128), unit length: tells surfaces apart


def normalised(rgb: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """(B, 3, H, W) in 0..1 → (B, 4, H, W), free of exposure; `mean`, `deviation` (B,) of the grey.

    Who crops passes the whole picture's values, so that a crop sees what the frame would.
    """
    grey = rgb.mean(1, keepdim=True)
    scale = (deviation + CONTRAST_FLOOR)[:, None, None, None]
    overall = ((rgb - mean[:, None, None, None]) / scale).clamp(-5, 5)
    coarse = functional.avg_pool2d(torch.cat([grey, grey.square()], 1), 4)
    first, second = _window_mean(coarse).split(1, 1)
    spread = (second - first.square()).clamp_min(0).sqrt()
    middle, spread = (functional.interpolate(v, scale_factor=4.0, mode="bilinear") for v in (first, spread))
    local = (grey - middle) / (spread + 0.15 * scale + CONTRAST_FLOOR / 2)
    return torch.cat([overall, local.clamp(-5, 5)], 1)


def _window_mean(grey: Tensor) -> Tensor:
    """Mean over about 36 px around, on a grid four times coarser (B, 1, H/4, W/4): ten times cheaper."""
    for _ in range(2):
        grey = functional.avg_pool2d(grey, LOCAL_WINDOW, 1, LOCAL_WINDOW // 2, count_include_pad=False)
    return grey


def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = convolution(channels, channels)
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(self.first(x)))


class SurfaceNetwork(nn.Module):
    """Residual stages down to stride 16, then a pyramid up to 4 (Lin et al. 2017, arXiv 1612.03144)."""

    def __init__(self, features: int = 64) -> None:
        super().__init__()
        c2, c4, c8, c16 = CHANNELS
        self.stem = convolution(INPUT_CHANNELS, c2, kernel=5, stride=2)
        self.stage4 = nn.Sequential(convolution(c2, c4, stride=2), Residual(c4))
        self.stage8 = nn.Sequential(convolution(c4, c8, stride=2), Residual(c8), Residual(c8))
        self.stage16 = nn.Sequential(convolution(c8, c16, stride=2), Residual(c16), Residual(c16))
        self.across = nn.ModuleList(nn.Conv2d(channels, features, 1) for channels in (c4, c8, c16))
        self.fuse8 = convolution(features, features)
        self.fuse4 = convolution(features, features)
        self.to_patches = nn.Conv2d(features, features, 1)
        self.to_defect = nn.Conv2d(features, 1, 1)
        self.to_whole = nn.Linear(2 * c16, c16)

    def forward(self, x: Tensor) -> SurfaceFeatures:
        """`x` is (B, 4, H, W) as `normalised` gives it."""
        at4 = self.stage4(self.stem(x))
        at8 = self.stage8(at4)
        at16 = self.stage16(at8)
        up = functional.interpolate(self.across[2](at16), scale_factor=2.0, mode="nearest")
        up = self.fuse8(up + self.across[1](at8))
        up = functional.interpolate(up, scale_factor=2.0, mode="nearest")
        up = self.fuse4(up + self.across[0](at4))
        pooled = torch.cat([at16.mean((2, 3)), (at16.var((2, 3), correction=0) + 1e-6).sqrt()], 1)
        return SurfaceFeatures(
            patches=functional.normalize(self.to_patches(up), dim=1),
            defect_logit=self.to_defect(up),
            middle=at8,
            whole=functional.normalize(self.to_whole(pooled), dim=1),
        )
