"""Recipes that were stored before a field was added mean what they meant, under the hash they had."""

from dataclasses import replace

from pipelines.localize.frame_score import ScoreRule
from pipelines.localize.grouped_calibration import GroupedCalibration
from pipelines.recipe import recipe_from_json, recipe_to_json
from tests.fake_models import fake_recipe

# Of `fake_recipe()` at revision 1d7f7b6, before recipes had groups or a score rule.
HASH = "c4e0be742b2c1bac22c80ebe85d736e910b719dcf4e8db6067c1a2cac2036f87"


def test_a_recipe_without_later_fields_keeps_its_hash_and_its_body() -> None:
    recipe = fake_recipe()

    assert recipe.hash == HASH
    body = recipe_to_json(recipe)
    assert not {"groups", "score_rule"} & set(body)
    assert {"references", "knowledge_revision"} <= set(body)  # None, and always written
    assert recipe_from_json(body) == recipe


def test_a_later_field_that_is_set_is_part_of_the_hash() -> None:
    recipe = fake_recipe()
    ruled = replace(recipe, score_rule=ScoreRule(window_px=5))
    grouped = replace(recipe, groups=GroupedCalibration(frames=(), boundaries=(0.5,)))

    assert len({recipe.hash, ruled.hash, grouped.hash}) == 3
    for each in (ruled, grouped):
        assert recipe_from_json(recipe_to_json(each)) == each
