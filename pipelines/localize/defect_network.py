"""The network behind the surface expert: a small U-Net that says where a surface is broken.

Letters in shapes: B pictures, H and W pixels (multiples of 32).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.localize.surface_network import INPUT_CHANNELS, Residual, convolution, normalised

CHANNELS = (16, 32, 64, 128, 160)  # at strides 2, 4, 8, 16 and 32
BLOCKS = (1, 2, 2, 1)  # residual blocks at strides 4 and above
UP_CHANNELS = (16, 32, 48, 64)  # on the way back, at strides 2, 4, 8 and 16
OUTPUT_STRIDE_PX = 2
GRID_PX = 32  # its coarsest cells


class DefectNetwork(nn.Module):
    """Down to stride 32 and back up to 2, 1.6 million parameters.

    A U-Net (Ronneberger et al. 2015, arXiv 1505.04597) whose two ways meet by addition. It never sees where a
    picture came from: what is normal for a product it has to have learned.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = convolution(INPUT_CHANNELS + 1, CHANNELS[0], kernel=5, stride=2)
        self.down = nn.ModuleList(
            nn.Sequential(convolution(finer, coarser, stride=2), *(Residual(coarser) for _ in range(blocks)))
            for finer, coarser, blocks in zip(CHANNELS, CHANNELS[1:], BLOCKS, strict=False)
        )
        self.top = nn.Conv2d(CHANNELS[-1], UP_CHANNELS[-1], 1)
        self.across = nn.ModuleList(
            nn.Conv2d(channels, up, 1) for channels, up in zip(CHANNELS, UP_CHANNELS, strict=False)
        )
        self.fuse = nn.ModuleList(
            convolution(up, finer)
            for up, finer in zip(UP_CHANNELS, (UP_CHANNELS[0], *UP_CHANNELS), strict=False)
        )
        self.to_logit = nn.Conv2d(UP_CHANNELS[0], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of "defect" (B, 1, H/2, W/2); `x` is (B, 5, H, W) as `defect_view` gives it."""
        seen = [self.stem(x)]
        for stage in self.down:
            seen.append(stage(seen[-1]))
        up = self.top(seen.pop())
        for at, across, fuse in reversed(list(zip(seen, self.across, self.fuse, strict=True))):
            up = fuse(functional.interpolate(up, scale_factor=2.0, mode="nearest") + across(at))
        logit = self.to_logit(up)
        assert isinstance(logit, Tensor)
        return logit


def defect_view(rgb: Tensor, mean: Tensor, deviation: Tensor, inside: Tensor) -> Tensor:
    """(B, 3, H, W) in 0..1 → (B, 5, H, W), free of exposure; the fifth says where there is a picture at all.

    `mean` and `deviation` (B,) are of the grey of the whole picture that is shown, or cut from. `inside`
    (B, 1, H, W) is 1 on the picture and 0 where its size was made up to a multiple of 32: a border is
    then something to be seen, and a bite out of it too.
    """
    x = normalised(rgb, mean, deviation)
    return torch.cat([x * inside, inside], 1).contiguous(memory_format=torch.channels_last)
