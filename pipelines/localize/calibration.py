"""From raw scores to rates a plant can ask for: split conformal prediction on held-out normal frames.

Vovk et al. 2005; Bates et al. 2023 (arXiv 2104.08279) for outlier p-values. With n calibration scores the
smallest p-value is 1 / (n + 1), so a false-reject rate R needs at least 1 / R - 1 of them.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from pipelines.errors import InputRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The frame scores of normal frames that the localizer has not seen, ascending."""

    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        if any(not math.isfinite(score) for score in self.scores):
            raise ValueError("calibration scores must be finite")
        if list(self.scores) != sorted(self.scores):
            raise ValueError("calibration scores must be ascending")

    @classmethod
    def of(cls, scores: Iterable[float]) -> Self:
        return cls(scores=tuple(sorted(scores)))

    @property
    def smallest_p(self) -> float:
        return 1 / (len(self.scores) + 1)

    def p_value(self, score: float) -> float:
        """The share of normal frames at least as bad as ``score``, counting the frame itself; in (0, 1]."""
        return (1 + self.at_least(score)) / (len(self.scores) + 1)

    def at_least(self, score: float) -> int:
        """How many calibration frames are at least as bad as ``score``."""
        if math.isnan(score):  # it would compare as better than every normal frame
            raise ValueError("a score that is not a number has no p-value")
        return len(self.scores) - bisect_left(self.scores, score)

    def threshold(self, rate: float) -> float:
        """The raw score above which a frame's p-value is at most ``rate``.

        A normal frame exceeds it with probability at most ``rate`` (over calibration and frame together).

        Raises:
            InputRefused: There are too few calibration frames for this rate.
        """
        require_enough(normals=len(self.scores), rate=rate)
        allowed = math.floor(rate * (len(self.scores) + 1) + 1e-9)  # frames that may be at least as bad
        return self.scores[max(0, len(self.scores) - allowed)]


def normals_needed(rate: float) -> int:
    """How many calibration frames a false-reject rate needs: 5 % needs 19, 1 % 99, 0.5 % 199."""
    return max(1, math.ceil(1 / rate - 1e-9) - 1)


def require_enough(*, normals: int, rate: float, places: int = 1) -> None:
    """Refuse a rate that this many calibration frames cannot keep, over all of a frame's places together.

    Raises:
        InputRefused: With how many are needed and what rate can be had instead.
    """
    if not 0 < rate < 1:
        raise InputRefused(f"false-reject rate {rate:g}: give a share between 0 and 1, such as 0.01 for 1 %")
    needed = normals_needed(rate / places)
    if normals < needed:
        asked = f"{rate:.3g}" if places == 1 else f"{rate:.3g} over {places} zones"
        best = places / (normals + 1)
        raise InputRefused(
            f"a false-reject rate of {asked} needs {needed} normal frames for calibration and there are "
            f"{normals}: add normal frames, or ask for " + (f"{best:.3g} or more" if best < 1 else "no rate")
        )
