"""What a product can learn from, and where its recipes come from, on both databases."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine

from pipelines.errors import InputRefused
from pipelines.verdict import Outcome
from storage.batches import finish
from storage.database import reading, transaction
from storage.normals import StoredNormal, load_normals, save_normals
from storage.recipe_revisions import list_revisions, save_revision
from storage.recipes import save_recipe, set_current
from storage.reviewed_frames import reviewed_frames
from storage.reviews import save_review
from storage.schema import NormalRole
from storage.verdicts import public_id, save_verdicts
from tests.contract.stream import Stream, in_threads, recipe_of, rows_in

NORMALS = (
    StoredNormal(role=NormalRole.LEARNED, sha256="1" * 64, picture_uri="picture:1"),
    StoredNormal(
        role=NormalRole.LEARNED,
        sha256="2" * 64,
        picture_uri="picture:2",
        decoding={"width_px": 4, "height_px": 2, "bit_depth": 12},
        verdict_id="7-3",
    ),
    StoredNormal(role=NormalRole.HELD_OUT, sha256="3" * 64, picture_uri="picture:3"),
)


def test_the_normal_frames_of_a_recipe_come_back_in_order_and_once(database: Engine) -> None:
    with transaction(database) as connection:
        recipe = save_recipe(connection, recipe_of())

    def save() -> None:
        with transaction(database) as connection:
            save_normals(connection, recipe, NORMALS)

    in_threads(4, save)

    with reading(database) as connection:
        assert load_normals(connection, recipe) == NORMALS
        assert load_normals(connection, "another") == ()
        assert rows_in(connection, "recipe_normal") == 3


def test_a_products_recipes_say_where_they_come_from(database: Engine) -> None:
    with transaction(database) as connection:
        first = save_recipe(connection, recipe_of())
        second = save_recipe(connection, recipe_of(fail_p=0.02))
        save_recipe(connection, recipe_of("cup"))
        save_revision(connection, second, parent=first, made_by="ada", body={"joined": ["7-3"]})
        save_revision(connection, second, parent=first, made_by="bob", body={"joined": ["7-3", "7-4"]})
        set_current(connection, "tile", first)
    with reading(database) as connection:
        found = {each.recipe: each for each in list_revisions(connection, "tile")}

    assert set(found) == {first, second}
    assert found[first].is_current
    assert (found[first].parent, found[first].body) == (None, None)
    assert not found[second].is_current
    assert (found[second].parent, found[second].made_by) == (first, "bob")
    assert found[second].body == {"joined": ["7-3", "7-4"]}


def test_a_frame_is_as_its_latest_review_says(stream: Stream) -> None:
    stream.plan(4)
    claim = stream.must_claim()
    outcomes = (Outcome.FAIL, Outcome.REVIEW, Outcome.PASS, Outcome.FAIL)
    with transaction(stream.engine) as connection:
        save_verdicts(
            connection, claim, [stream.verdict(offset, each) for offset, each in enumerate(outcomes)]
        )
        finish(connection, claim)
        for offset, said in ((0, Outcome.FAIL), (0, Outcome.PASS), (1, Outcome.PASS), (2, Outcome.FAIL)):
            save_review(
                connection,
                public_id(claim.batch_id, offset),
                outcome=said,
                reviewer="ada",
                picture_uri=f"picture:{offset}",
            )
    with reading(stream.engine) as connection:
        found = reviewed_frames(connection, "tile")
        assert reviewed_frames(connection, "cup") == ()

    assert [each.verdict_id for each in found] == [public_id(claim.batch_id, offset) for offset in range(3)]
    assert [each.is_overruled for each in found] == [True, True, False]
    assert [each.is_defect for each in found] == [False, False, True]
    assert [each.picture_uri for each in found] == ["picture:0", "picture:1", "picture:2"]
    assert found[0].reviewed_at - found[2].reviewed_at < timedelta(minutes=1)


def test_a_review_of_nothing_is_refused(database: Engine) -> None:
    with pytest.raises(InputRefused, match="9-9"), transaction(database) as connection:
        save_review(connection, "9-9", outcome=Outcome.PASS, reviewer="ada")
