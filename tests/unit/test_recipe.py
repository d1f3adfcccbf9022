"""A recipe's hash names it for ever."""

from dataclasses import replace

import pytest

from pipelines.recipe import recipe_from_json, recipe_to_json
from tests.contract.stream import recipe_of

# Of `recipe_of()`, computed by the version before regions could have a margin.
BEFORE = "db34d955176c4bcc9a30f2524e255353ad8a50abee9ed3081eb258d61699f440"


def test_fields_that_came_later_leave_the_hash_of_an_old_recipe_alone() -> None:
    recipe = recipe_of()
    assert recipe.hash == BEFORE
    body = recipe_to_json(recipe)
    assert body["regions"] == {"peak_score": 1.0, "extent_score": 0.5, "min_area_px": 4}
    assert recipe_from_json(body) == recipe


@pytest.mark.parametrize("later", [{"margin_px": 9}, {"merge_px": 4}, {"margin_px": 0}])
def test_a_value_in_a_later_field_is_another_recipe(later: dict[str, int]) -> None:
    recipe = recipe_of()
    wider = replace(recipe, regions=replace(recipe.regions, **later))
    assert wider.hash != recipe.hash
    assert recipe_from_json(recipe_to_json(wider)) == wider
