"""How a map becomes a frame's one score: the worst pixel, or the worst neighbourhood."""

from dataclasses import dataclass

import cv2
import numpy as np

from pipelines.localize.anomaly_map import AnomalyMap

LARGEST_WINDOW_PX = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRule:
    """A frame scores as its worst square of ``window_px`` pixels a side, by the mean; odd, from 3.

    One loud pixel then counts for less than a patch of neighbours that agree. What it does to the figures of
    simulated lines is in docs/experiments.md ("Worst neighbourhood").
    """

    window_px: int

    def __post_init__(self) -> None:
        if not (3 <= self.window_px <= LARGEST_WINDOW_PX and self.window_px % 2):
            raise ValueError(
                f"a window of {self.window_px} px: give an odd number from 3 to {LARGEST_WINDOW_PX}"
            )


def scored(anomaly: AnomalyMap, rule: ScoreRule | None) -> AnomalyMap:
    """The map whose worst pixel is the frame's score: each pixel is the mean of its window.

    The map itself where there is no rule. At a border the window is filled up with the pixels there.
    """
    if rule is None:
        return anomaly
    window = (rule.window_px, rule.window_px)
    means = cv2.blur(anomaly.scores, window, borderType=cv2.BORDER_REPLICATE)
    return AnomalyMap(np.asarray(means, np.float32))
