"""A convolution stack in place of the tower's patch embedding, for a ViT too small to learn one from scratch.

"Early convolutions help transformers see better" (Xiao et al., 2021): cut into 16-pixel patches, a small
ViT has to learn each mark anew at each place within a patch. Measured here: docs/experiments.md, "Triad".
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


class ConvStem(nn.Module):
    """(B, 3, px, px) → (B, width, px / 2**n, px / 2**n): n strided 3 x 3 convolutions, then a 1 x 1 one.

    It stands where ``SiglipVisionEmbeddings`` has its one convolution, so the rest stays stock.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.channels = tuple(channels)
        layers: list[nn.Module] = []
        for before, after in pairwise((3, *channels)):
            convolution = nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels[-1], width, kernel_size=1))

    @property
    def weight(self) -> Tensor:
        """SigLIP asks its patch embedding for the type of its weights."""
        last = self.layers[-1]
        assert isinstance(last, nn.Conv2d)
        return last.weight

    def forward(self, pixels: Tensor) -> Tensor:
        planes: Tensor = self.layers(pixels)
        return planes
