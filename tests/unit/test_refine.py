"""What refining measures by: frames with and without made defects, and how an expert tells them apart."""

from collections.abc import Sequence

import numpy as np

from pipelines.frame import Picture
from pipelines.learn.refine import _made, _to_scale, _told, refined_name
from pipelines.localize.anomaly_map import AnomalyMap
from tests.fake_models import fake_recipe
from tests.surfaces import grain


class Knows:
    """Scores 1 where a picture differs from the clean ones that it was shown, and ``otherwise`` elsewhere."""

    digest = "knows"

    def __init__(self, clean: Sequence[Picture], *, otherwise: float = 0.0) -> None:
        self._clean = {picture.pixels.tobytes() for picture in clean}
        self._otherwise = otherwise

    def localize(self, pictures: Sequence[Picture]) -> list[AnomalyMap]:
        scores = [self._otherwise if each.pixels.tobytes() in self._clean else 1.0 for each in pictures]
        return [AnomalyMap(np.full((4, 4), score, np.float32)) for score in scores]


def test_made_defects_are_the_same_each_time_and_lie_within_the_frame() -> None:
    pictures = [grain(seed, 300, 90) for seed in range(4)]
    clean, flawed = _made(pictures)
    again = _made(pictures)[1]
    assert clean == pictures
    for before, after, same in zip(clean, flawed, again, strict=True):
        assert after.pixels.shape == before.pixels.shape
        assert after.pixels.dtype == before.pixels.dtype
        assert 0 < np.count_nonzero(after.pixels != before.pixels) < before.pixels.size / 2
        assert np.array_equal(after.pixels, same.pixels)


def test_deep_and_coloured_frames_stay_as_deep_and_coloured() -> None:
    deep = Picture(pixels=(grain(1).pixels.astype(np.uint16) * 16), bit_depth=12)
    coloured = Picture(pixels=np.stack([grain(2).pixels] * 3, 2).astype(np.uint8))
    for picture in (deep, coloured):
        (flawed,) = _made([picture])[1]
        assert (flawed.pixels.dtype, flawed.bit_depth) == (picture.pixels.dtype, picture.bit_depth)
        assert flawed.pixels.shape == picture.pixels.shape
        assert flawed.pixels.max() < 2**picture.bit_depth


def test_who_tells_made_defects_apart_scores_one_and_who_does_not_a_half() -> None:
    clean, flawed = _made([grain(seed) for seed in range(5)])
    recipe = fake_recipe()
    assert _told(Knows(clean), recipe, clean, flawed) == 1.0
    assert _told(Knows(clean, otherwise=1.0), recipe, clean, flawed) == 0.5
    assert _told(Knows(clean, otherwise=2.0), recipe, clean, flawed) == 0.0
    assert _told(Knows([]), recipe, [], []) == 0.5


def test_a_tenth_of_the_frames_brings_the_parts_to_one_scale() -> None:
    assert _to_scale(8) == (0, 2, 5, 7)
    assert len(_to_scale(100)) == 10
    assert len(set(_to_scale(1000))) == 16
    assert max(_to_scale(1000)) == 999


def test_the_network_joins_once() -> None:
    assert refined_name("patch-memory") == "patch-memory+surface-network"
    assert refined_name("patch-memory+surface-network") == "patch-memory+surface-network"
