"""The network behind the surface expert: a small U-Net that is told how foreign each place looks.

Letters in shapes: B pictures, H and W pixels (multiples of 16).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.localize.surface_network import CHANNELS, INPUT_CHANNELS, Residual, SurfaceNetwork, convolution

COMPARED_STRIDE_PX = 8  # of the distances that the network is given
OUTPUT_STRIDE_PX = 2
_UP8, _UP4, _UP2 = 64, 48, 24


class DefectNetwork(nn.Module):
    """Down to stride 16 as the encoder's network does, and back up to 2.

    A U-Net (Ronneberger et al. 2015, arXiv 1505.04597). What it learns is which deviations are defects: it
    sees the surface and, at stride 8, how far each patch is from the nearest patch of a normal frame.
    """

    def __init__(self) -> None:
        super().__init__()
        c2, c4, c8, c16 = CHANNELS
        self.stem = convolution(INPUT_CHANNELS, c2, kernel=5, stride=2)
        self.stage4 = nn.Sequential(convolution(c2, c4, stride=2), Residual(c4))
        self.stage8 = nn.Sequential(convolution(c4, c8, stride=2), Residual(c8), Residual(c8))
        self.compare = convolution(c8 + 1, c8)
        self.stage16 = nn.Sequential(convolution(c8, c16, stride=2), Residual(c16), Residual(c16))
        self.across16 = nn.Conv2d(c16, _UP8, 1)
        self.across8 = nn.Conv2d(c8, _UP8, 1)
        self.fuse8 = convolution(_UP8, _UP4)
        self.across4 = nn.Conv2d(c4, _UP4, 1)
        self.fuse4 = convolution(_UP4, _UP2)
        self.across2 = nn.Conv2d(c2, _UP2, 1)
        self.fuse2 = convolution(_UP2, _UP2)
        self.to_logit = nn.Conv2d(_UP2, 1, 1)

    def forward(self, x: Tensor, distance: Tensor) -> Tensor:
        """Logits of "defect" (B, 1, H/2, W/2).

        `x` is (B, 4, H, W) as `normalised` gives it, `distance` (B, 1, H/8, W/8) in 0..2, 1 - cosine.
        """
        at2 = self.stem(x)
        at4 = self.stage4(at2)
        at8 = self.stage8(at4)
        at8 = self.compare(torch.cat([at8, 4 * distance], 1))
        up = _doubled(self.across16(self.stage16(at8)))
        up = _doubled(self.fuse8(up + self.across8(at8)))
        up = _doubled(self.fuse4(up + self.across4(at4)))
        logit = self.to_logit(self.fuse2(up + self.across2(at2)))
        assert isinstance(logit, Tensor)
        return logit

    def start_from(self, encoder: SurfaceNetwork) -> None:
        """Take over what the encoder's network has learned on its way down."""
        for name in ("stem", "stage4", "stage8", "stage16"):
            getattr(self, name).load_state_dict(getattr(encoder, name).state_dict())


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")
