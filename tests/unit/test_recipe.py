"""Recipes keep their hash: what was stored by a version before is found again."""

from dataclasses import replace

import pytest

from pipelines.recipe import Recipe, recipe_from_json, recipe_to_json
from tests.contract.stream import recipe_of
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


# Of `recipe_of()`, computed by the version before regions could have a margin.
BEFORE_MARGINS = "db34d955176c4bcc9a30f2524e255353ad8a50abee9ed3081eb258d61699f440"


def test_fields_that_came_later_leave_the_hash_of_an_old_recipe_alone() -> None:
    recipe = recipe_of()
    assert recipe.hash == BEFORE_MARGINS
    body = recipe_to_json(recipe)
    assert body["regions"] == {"peak_score": 1.0, "extent_score": 0.5, "min_area_px": 4}
    assert recipe_from_json(body) == recipe


@pytest.mark.parametrize("later", [{"margin_px": 9}, {"merge_px": 4}, {"margin_px": 0}])
def test_a_value_in_a_later_field_is_another_recipe(later: dict[str, int]) -> None:
    recipe = recipe_of()
    wider = replace(recipe, regions=replace(recipe.regions, **later))
    assert wider.hash != recipe.hash
    assert recipe_from_json(recipe_to_json(wider)) == wider
