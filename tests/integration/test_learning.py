"""A product that learns from the people who review it, with the bundled weights, on the embedded system."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import delete
from typer.testing import CliRunner

from pipelines.errors import InputRefused
from pipelines.localize.experts import PATCH_MEMORY
from pipelines.verdict import Outcome
from storage.database import reading, transaction
from storage.normals import load_normals
from storage.recipe_revisions import list_revisions
from storage.recipes import current_recipes, load_recipe, set_current
from storage.reviews import save_review
from storage.schema import NormalRole, recipe_normal
from storage.verdicts import StoredVerdict
from tests.integration.test_command_line import triad
from tests.plates import settings_of, verdicts_of
from workers.cli import app
from workers.embedded import EmbeddedSystem
from workers.learning import LearnedAgain, Learning
from workers.manifest_scan import scan
from workers.settings import Settings
from workers.wiring import Stores, load_models, open_stores, product_shelf, revising

NORMALS = 40


def grain(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(90, 160, (96, 128), dtype=np.uint8)


def brushed(seed: int) -> NDArray[np.uint8]:
    """Grain with a brushed patch: unusual, and good."""
    pixels = grain(seed)
    left, top = np.random.default_rng(seed).integers(24, 40, 2)
    patch = pixels[top : top + 40, left : left + 56]
    pixels[top : top + 40, left : left + 56] = cv2.blur(patch, (31, 1))
    return pixels


def hole(seed: int, *, speck: int = 0) -> NDArray[np.uint8]:
    """A hole; with a ``speck`` it is another picture of the same hole."""
    pixels = grain(seed)
    pixels[40:60, 50:80] = 10
    pixels[0, 0] += speck
    return pixels


def write(folder: Path, **drawn: NDArray[np.uint8]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, pixels in drawn.items():
        cv2.imwrite(str(folder / f"{name}.png"), pixels)
    return folder


@pytest.fixture(scope="module")
def shift(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a product of grain, and six brushed frames, two holes and a good frame inspected by it."""
    folder = tmp_path_factory.mktemp("shift")
    normals = write(folder / "normals", **{f"n{seed}": grain(seed) for seed in range(NORMALS)})
    brushes = {f"brushed{seed}": brushed(1000 + seed) for seed in range(6)}
    frames = write(
        folder / "frames", **brushes, hole1=hole(2000), hole2=hole(2000, speck=1), good=grain(3000)
    )
    with EmbeddedSystem(settings_of(folder / "home")) as system:
        models = load_models(system.stores)
        product_shelf(system.stores, models).add("cloth", normal=[normals], false_reject_rate=0.1)
        scan(system.stores.log, [frames], product=lambda _: "cloth")
        system.run_until_done(models)
    return folder / "home"


@pytest.fixture
def settings(tmp_path: Path, shift: Path) -> Settings:
    """The same home for each test, as if nobody had reviewed anything yet."""
    shutil.copytree(shift, tmp_path / "home")
    return settings_of(tmp_path / "home")


@pytest.fixture
def stores(settings: Settings) -> Iterator[Stores]:
    opened = open_stores(settings)
    yield opened
    opened.engine.dispose()


@pytest.fixture
def inspected(stores: Stores) -> dict[str, StoredVerdict]:
    """The shift's verdicts by name."""
    return by_name(stores)


def by_name(stores: Stores) -> dict[str, StoredVerdict]:
    return {Path(each.name or "").stem: each for each in verdicts_of(stores)}


def review(stores: Stores, verdict: StoredVerdict, outcome: Outcome, **more: Any) -> None:
    with transaction(stores.engine) as connection:
        save_review(connection, verdict.id, outcome=outcome, reviewer="ada", **more)


def review_all(stores: Stores, inspected: dict[str, StoredVerdict]) -> None:
    for name, verdict in inspected.items():
        if name.startswith("brushed"):
            review(stores, verdict, Outcome.PASS)
        if name.startswith("hole"):
            review(stores, verdict, Outcome.FAIL)


def learn(stores: Stores, product: str = "cloth", **how: Any) -> LearnedAgain:
    models = load_models(stores)
    learning = Learning(revising=revising(stores, models), networks_of=models.networks_of)
    return learning.learn(product, by="ada", **how)


def current(stores: Stores) -> str:
    with reading(stores.engine) as connection:
        return current_recipes(connection)["cloth"]


def test_overruled_rejects_join_the_normals_and_others_of_their_kind_pass(
    tmp_path: Path, settings: Settings, stores: Stores, inspected: dict[str, StoredVerdict]
) -> None:
    assert {name for name, each in inspected.items() if each.outcome is not Outcome.PASS} == {
        *(f"brushed{seed}" for seed in range(6)),
        "hole1",
        "hole2",
    }
    review_all(stores, inspected)
    before = current(stores)

    dry = learn(stores, is_dry_run=True)
    assert current(stores) == before
    done = learn(stores)

    assert (done.before.overruled, done.before.overkill) == (6, 6)
    assert done.after.overkill <= 2, "each was judged by a memory of the others"
    assert (done.after.defects, done.after.escapes) == (2, 0)
    assert (dry.after, dry.recipe, dry.is_stored) == (done.after, done.recipe, False)
    assert done.is_current
    assert current(stores) == done.recipe
    assert set(done.joined) == {inspected[f"brushed{seed}"].id for seed in range(6)}

    fresh = write(tmp_path / "next", fresh1=brushed(5001), fresh2=brushed(5002), fresh_hole=hole(5003))
    with EmbeddedSystem(settings) as system:
        scan(system.stores.log, [fresh], product=lambda _: "cloth")
        system.run_until_done(load_models(system.stores))
    outcomes = {name: each.outcome for name, each in by_name(stores).items() if name.startswith("fresh")}
    assert outcomes["fresh_hole"] is not Outcome.PASS
    assert [outcomes["fresh1"], outcomes["fresh2"]].count(Outcome.PASS) >= 1


def test_the_new_recipe_says_where_it_comes_from_and_the_old_one_can_be_used_again(
    settings: Settings, stores: Stores, inspected: dict[str, StoredVerdict]
) -> None:
    review_all(stores, inspected)
    parent = current(stores)
    done = learn(stores)

    with reading(stores.engine) as connection:
        newest = next(each for each in list_revisions(connection, "cloth") if each.recipe == done.recipe)
        recipe = load_recipe(connection, done.recipe)
        normals = load_normals(connection, done.recipe)
        first = load_normals(connection, parent)
    assert (newest.parent, newest.made_by, newest.is_current) == (parent, "ada", True)
    assert newest.body is not None
    assert newest.body["before"] == {"overruled": 6, "overkill": 6, "defects": 2, "escapes": 0}
    assert len(newest.body["reviews"]) == 8
    assert recipe is not None
    assert recipe.localizer.name == PATCH_MEMORY
    assert len(first) == NORMALS
    held_out = [each for each in normals if each.role is NormalRole.HELD_OUT]
    assert held_out == [each for each in first if each.role is NormalRole.HELD_OUT]
    assert sum(each.verdict_id is not None for each in normals) == 6

    again = learn(stores)
    assert again.recipe == done.recipe, "learned from the same, it is the same"
    assert not again.is_stored
    used = triad("products", "use", "cloth", parent[:10], home=settings.home)
    assert used.returncode == 0, used.stderr.decode()
    assert current(stores) == parent
    listed = triad("products", "recipes", "cloth", home=settings.home)
    assert parent[:12] in listed.stdout.decode()
    assert "6 reviews" in listed.stdout.decode()


def test_who_changes_his_mind_takes_the_frame_out_again(
    stores: Stores, inspected: dict[str, StoredVerdict]
) -> None:
    review_all(stores, inspected)
    learn(stores)
    review(stores, inspected["brushed3"], Outcome.FAIL)

    done = learn(stores)

    assert done.left_out == (inspected["brushed3"].sha256,)
    assert done.joined == ()
    assert done.after.defects == 3
    with reading(stores.engine) as connection:
        sha256s = {each.sha256 for each in load_normals(connection, done.recipe)}
    assert inspected["brushed3"].sha256 not in sha256s


def test_a_recipe_by_which_a_known_defect_would_pass_is_not_used(
    settings: Settings, stores: Stores, inspected: dict[str, StoredVerdict]
) -> None:
    """A person overrules a hole by mistake, and another picture of it is a confirmed defect."""
    review(stores, inspected["hole1"], Outcome.PASS)
    review(stores, inspected["hole2"], Outcome.FAIL)
    parent = current(stores)

    done = learn(stores)

    assert len(done.hindrances) == 1
    assert f"confirmed defect {inspected['hole2'].id} would pass" in done.hindrances[0]
    assert (done.is_stored, done.is_current) == (True, False)
    assert current(stores) == parent
    told = CliRunner().invoke(
        app, ["--home", str(settings.home), "products", "learn", "cloth", "--by", "ada"]
    )
    assert isinstance(told.exception, InputRefused)
    assert "is stored and not current: confirmed defect" in str(told.exception)
    assert "1 of 1" in told.stdout, "the table is shown all the same"
    assert learn(stores, allows_escapes=True).is_current


def test_what_can_no_longer_be_seen_is_left_out_and_said(
    stores: Stores, inspected: dict[str, StoredVerdict]
) -> None:
    review_all(stores, inspected)
    stores.pictures.path(inspected["brushed0"].picture_uri or "").unlink()
    review(stores, inspected["good"], Outcome.FAIL)  # it passed, so its bytes were not kept

    done = learn(stores, is_dry_run=True)

    assert done.before.overruled == 5
    assert any(f"verdict {inspected['brushed0'].id} is left out" in note for note in done.notes)
    assert any(f"verdict {inspected['good'].id} is left out" in note for note in done.notes)


def test_a_review_on_the_command_line_keeps_the_picture_of_an_escape(
    settings: Settings, stores: Stores, inspected: dict[str, StoredVerdict]
) -> None:
    done = triad(
        *("review", inspected["good"].id, "--defect", "--defect-type", "tear", "--by", "ada"),
        *("--note", "at the seam", "--json"),
        home=settings.home,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert inspected["good"].picture_uri is None

    learned = learn(stores, is_dry_run=True)

    assert (learned.after.defects, learned.after.escapes) == (1, 1)
    assert any("would catch them all" in note for note in learned.notes)
    both = triad("review", inspected["good"].id, "--good", "--defect", home=settings.home)
    assert both.returncode == 5
    none = triad("review", "9-9", "--good", "--by", "ada", home=settings.home)
    assert (none.returncode, b"verdict '9-9': there is none" in none.stderr) == (5, True)


def test_a_product_from_before_normals_were_kept_says_so(
    stores: Stores, inspected: dict[str, StoredVerdict]
) -> None:
    with transaction(stores.engine) as connection:
        connection.execute(delete(recipe_normal))
        set_current(connection, "cloth", inspected["good"].recipe)
    with pytest.raises(InputRefused, match="made before normal frames were kept"):
        learn(stores)
    with pytest.raises(InputRefused, match="product 'cup' is not known"):
        learn(stores, product="cup")
