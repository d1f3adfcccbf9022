"""Recipes keep their hash: what was stored by a version before is found again."""

import pytest

from pipelines.recipe import Recipe, recipe_from_json, recipe_to_json
from tests.fake_models import fake_recipe

# As the version before backbones and parity frames wrote it, and the hash that it stored it under.
BEFORE = "c4e0be742b2c1bac22c80ebe85d736e910b719dcf4e8db6067c1a2cac2036f87"


def stored_before() -> dict[str, object]:
    body = recipe_to_json(fake_recipe())
    localizer = body["localizer"]
    assert isinstance(localizer, dict)
    body["localizer"] = {name: localizer[name] for name in ("name", "digest", "memory_uri")}
    return body


def test_a_recipe_of_the_version_before_is_read_and_keeps_its_hash() -> None:
    recipe = recipe_from_json(stored_before())
    assert recipe == fake_recipe()
    assert recipe.hash == BEFORE


def with_localizer(**values: object) -> Recipe:
    body = recipe_to_json(fake_recipe())
    localizer = body["localizer"]
    assert isinstance(localizer, dict)
    return recipe_from_json({**body, "localizer": localizer | values})


@pytest.mark.parametrize(
    "place",
    [
        {"memory_uri": "picture:" + "1" * 64 + ".none"},
        {"backbone_folder": "/models/dinov2"},
        {"parity": [{"picture_uri": "picture:" + "1" * 64 + ".png", "score": 0.5}]},
    ],
)
def test_where_things_lie_is_no_part_of_the_hash(place: dict[str, object]) -> None:
    assert with_localizer(**place).hash == BEFORE


def test_another_backbone_is_another_recipe() -> None:
    assert with_localizer(backbone="d" * 64).hash != BEFORE
