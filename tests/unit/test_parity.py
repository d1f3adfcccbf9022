"""Parity: a localizer that scores otherwise than where it was fitted is found out, and rounding is not."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipelines.errors import StageUnavailable
from pipelines.frame import Picture
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.recipe import ParityFrame, Recipe
from storage.pictures import PictureStore
from tests.fake_models import GreyLocalizer, fake_recipe
from tests.plates import plate_png
from workers.parity import parity_difference

SPOTS = (150, 200)


@dataclass(frozen=True, slots=True)
class Drifting:
    """Grey distances, off by something; only in company where ``alone`` is false."""

    by: float
    alone: bool = True
    digest: str = GreyLocalizer.digest

    def localize(self, pictures: Sequence[Picture]) -> list[AnomalyMap]:
        maps = GreyLocalizer().localize(pictures)
        if self.alone or len(pictures) > 1:
            maps = [AnomalyMap(found.scores + np.float32(self.by)) for found in maps]
        return maps


@pytest.fixture
def memories(tmp_path: Path) -> PictureStore:
    return PictureStore(tmp_path / "memories")


def checked_recipe(memories: PictureStore) -> Recipe:
    recipe = fake_recipe()
    frames = []
    for spot in SPOTS:
        payload = plate_png(spot)
        pixels = cv2.imdecode(np.frombuffer(payload, np.uint8), cv2.IMREAD_GRAYSCALE)
        (found,) = GreyLocalizer().localize([Picture(pixels=np.asarray(pixels, np.uint8))])
        frames.append(ParityFrame(picture_uri=memories.put(payload, "png"), score=found.frame_score))
    return replace(recipe, localizer=replace(recipe.localizer, parity=tuple(frames)))


def test_the_same_scores_are_in_order(memories: PictureStore) -> None:
    assert parity_difference(checked_recipe(memories), GreyLocalizer(), memories) is None


def test_what_is_checked_and_where_it_lies_are_no_part_of_the_hash(memories: PictureStore) -> None:
    assert checked_recipe(memories).hash == fake_recipe().hash


@pytest.mark.parametrize("alone", [True, False])
def test_a_drift_is_told_with_recipe_and_size(memories: PictureStore, alone: bool) -> None:
    """Normal frames score up to 0.38 here, and these two up to 0.57: a thousandth of that is allowed."""
    recipe = checked_recipe(memories)
    said = parity_difference(recipe, Drifting(0.002, alone), memories)
    assert said is not None
    assert recipe.hash[:12] in said
    assert "'plate' scores differently here" in said
    assert "by 0.002, and 0.000569 is allowed" in said


@pytest.mark.parametrize("alone", [True, False])
def test_rounding_is_no_drift(memories: PictureStore, alone: bool) -> None:
    assert parity_difference(checked_recipe(memories), Drifting(0.0004, alone), memories) is None


def test_what_scores_next_to_nothing_may_round_too(memories: PictureStore) -> None:
    """A single normal frame that was learned by heart: its score is 0, and nothing was calibrated."""
    recipe = checked_recipe(memories)
    frames = tuple(replace(frame, score=0.0) for frame in recipe.localizer.parity)
    bare = replace(
        recipe,
        localizer=replace(recipe.localizer, parity=frames),
        calibration=replace(recipe.calibration, scores=()),
    )

    class Hushed(GreyLocalizer):
        def localize(self, pictures: Sequence[Picture]) -> list[AnomalyMap]:
            return [AnomalyMap(np.full((4, 4), 5e-5, np.float32)) for _ in pictures]

    assert parity_difference(bare, Hushed(), memories) is None
    assert parity_difference(bare, GreyLocalizer(), memories) is not None


def test_a_recipe_from_before_has_nothing_to_compare(memories: PictureStore) -> None:
    assert parity_difference(fake_recipe(), Drifting(1.0), memories) is None


def test_a_frame_that_is_not_here_is_an_outage_of_ours(memories: PictureStore) -> None:
    recipe = checked_recipe(memories)
    memories.path(recipe.localizer.parity[0].picture_uri).unlink()
    with pytest.raises(StageUnavailable, match="share TRIAD_HOME, or add the product again"):
        parity_difference(recipe, GreyLocalizer(), memories)
