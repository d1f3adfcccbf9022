"""Pixels that we put into the picture store ourselves, lossless, and take out again."""

import cv2
import numpy as np

from pipelines.reasoning import ViewPixels


def pixels_of(content: bytes) -> ViewPixels:
    """(height, width, 3) RGB, exactly as they were saved; only for PNGs that we wrote, never for frames."""
    bgr = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None, "the picture store names files by content, so this is what we wrote"
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
