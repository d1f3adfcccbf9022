"""Where a frame looks unlike its product's normal frames, pixel by pixel."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class AnomalyMap:
    """Raw scores on the frame's own pixel grid.

    ``scores`` is float32 (height, width), finite; higher is worse; comparable only within one recipe.
    Smoothing is part of how a localizer makes the map: whoever reads it does not smooth again.
    """

    scores: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.scores.dtype != np.float32 or self.scores.ndim != 2 or self.scores.size == 0:
            raise ValueError(f"want float32 (height, width), got {self.scores.dtype} {self.scores.shape}")
        if not np.isfinite(self.scores).all():
            raise ValueError("an anomaly map must be finite")

    @property
    def frame_score(self) -> float:
        """The worst pixel: raw, higher is worse."""
        return float(self.scores.max())
