"""A product gets the expert that its normal frames ask for, and is inspected with it after a restart."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipelines.errors import StageUnavailable
from pipelines.frame import Envelope, Frame, Picture
from pipelines.localize.experts import PATCH_MEMORY, REFERENCE_DIFFERENCE
from pipelines.verdict import Outcome
from tests.layouts import seen
from tests.plates import settings_of
from workers.embedded import EmbeddedSystem
from workers.products import AddedProduct
from workers.wiring import load_models, product_shelf

NORMALS = 40


def printed(seed: int) -> Picture:
    place = np.random.default_rng(seed).uniform(0, 20, 2)
    return seen(left=place[0], top=place[1], height=128, width=160, noise=2.0, seed=seed)


def grain(seed: int) -> Picture:
    return Picture(pixels=np.random.default_rng(seed).integers(90, 160, (96, 128), dtype=np.uint8))


def added(home: Path, draw: Callable[[int], Picture]) -> AddedProduct:
    folder = home / "good"
    folder.mkdir(parents=True)
    for seed in range(NORMALS):
        cv2.imwrite(str(folder / f"{seed:03}.png"), draw(seed).pixels)
    with EmbeddedSystem(settings_of(home / "home")) as system:
        shelf = product_shelf(system.stores, load_models(system.stores))
        return shelf.add("thing", normal=[folder], false_reject_rate=0.05)


def framed(picture: Picture) -> Frame:
    return Frame(
        envelope=Envelope(id="1", source="test", line="l"), picture=picture, product="thing", sha256="0" * 64
    )


def test_a_printed_layout_is_guarded_by_registered_normal_frames(tmp_path: Path) -> None:
    product = added(tmp_path, printed)
    assert product.recipe.localizer.name == REFERENCE_DIFFERENCE
    assert any("one layout" in note for note in product.notes)

    bad = printed(99).pixels.copy()
    bad[60:68, 80:88] = 20
    with EmbeddedSystem(settings_of(tmp_path / "home")) as system:
        expert = load_models(system.stores).expert(product.recipe)
        found = expert.inspect([framed(Picture(pixels=bad))])[0].verdict
        assert found.outcome is Outcome.FAIL
        (region,) = found.regions
        assert (region.left, region.top) <= (84, 64) <= (region.right, region.bottom)
        system.stores.memories.path(product.recipe.localizer.memory_uri).unlink()
        with pytest.raises(StageUnavailable, match="share TRIAD_HOME, or add the product again"):
            load_models(system.stores).expert(product.recipe)


def test_a_texture_is_guarded_by_a_patch_memory(tmp_path: Path) -> None:
    product = added(tmp_path, grain)
    assert product.recipe.localizer.name == PATCH_MEMORY
    assert any("do not show one layout" in note for note in product.notes)
    with EmbeddedSystem(settings_of(tmp_path / "home")) as system:
        expert = load_models(system.stores).expert(product.recipe)
        assert len(expert.inspect([framed(grain(99))])) == 1
