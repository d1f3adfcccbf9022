"""Frames of a make-believe surface without a layout, and the bundled networks."""

from functools import cache

import numpy as np

from pipelines.frame import Picture
from pipelines.localize.encoder import load_encoder
from pipelines.localize.expert_kind import Networks
from pipelines.triad.reasoner import load_triad


def grain(seed: int, height: int = 96, width: int = 128) -> Picture:
    """Fine horizontal grain; another seed is another frame."""
    rng = np.random.default_rng(seed)
    drawn = rng.normal(0, 9, (height, width + 8)).cumsum(1)
    drawn = drawn[:, 8:] - drawn[:, :-8]
    return Picture(pixels=np.clip(128 + drawn * 0.6, 0, 255).astype(np.uint8))


def with_defect(picture: Picture) -> Picture:
    """The same picture with a dark spot of 12 px at row 40, column 60."""
    pixels = picture.pixels.copy()
    pixels[40:52, 60:72] = 10
    return Picture(pixels=pixels)


@cache
def bundled_networks() -> Networks:
    encoder = load_encoder()
    features = cache(lambda: load_triad().features)
    return Networks(encoder=lambda: encoder, stem=features)
