"""Where the features come from that experts compare patches by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from pipelines.errors import FrameRejected, RejectReason
from pipelines.frame import Picture

if TYPE_CHECKING:
    from torch import Tensor


SMALLEST_SIDE_PX = 32


class PatchFeatures(Protocol):
    """A frozen network that says in numbers what each small patch of a picture looks like."""

    @property
    def digest(self) -> str:
        """SHA-256 over all that decides the features."""
        ...

    @property
    def device(self) -> str: ...

    @property
    def stride_px(self) -> int:
        """The side of a patch: features come on a grid of this many pixels."""
        ...

    def patch_grids(self, pictures: Sequence[Picture]) -> list[Tensor]:
        """(ceil(height / stride), ceil(width / stride), D) float32 each, unit length along D.

        Raises:
            FrameRejected: A picture is too small.
            StageUnavailable: The device failed.
        """
        ...


def reject_too_small(picture: Picture) -> None:
    """Raises ``FrameRejected`` for a side shorter than 32 px."""
    if min(picture.height_px, picture.width_px) < SMALLEST_SIDE_PX:
        size = f"{picture.width_px}x{picture.height_px} px"
        raise FrameRejected(
            RejectReason.GEOMETRY_MISMATCH, f"{size} is smaller than one patch ({SMALLEST_SIDE_PX} px)"
        )
