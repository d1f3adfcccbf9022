"""A product's network: trained on its normal frames, joined to its expert, used only if it sees more."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.errors import InputRefused
from pipelines.learn.defect_training import Refinement, train_on_normals
from pipelines.learn.refine import network_in
from pipelines.localize.defect_network import DefectNetwork
from pipelines.localize.experts import MUSC, PATCH_MEMORY, SURFACE_NETWORK
from pipelines.recipe import Recipe
from pipelines.verdict import Outcome
from storage.database import reading
from storage.normals import load_normals
from storage.recipe_revisions import list_revisions
from storage.recipes import current_recipes, load_recipe
from storage.schema import NormalRole
from tests.integration.test_learning import grain, hole, write
from tests.plates import settings_of, verdicts_of
from workers.embedded import EmbeddedSystem
from workers.learning import Learning
from workers.manifest_scan import scan
from workers.recipe_loading import load_localizer
from workers.refining import RefinedProduct, Refining
from workers.settings import Settings
from workers.wiring import Stores, load_models, open_stores, product_shelf, revising

LEARNED_AND_HELD_OUT = 30


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_of(tmp_path / "home", device="cpu")


@pytest.fixture
def normals(tmp_path: Path) -> Path:
    return write(tmp_path / "normals", **{f"n{seed}": grain(seed) for seed in range(LEARNED_AND_HELD_OUT)})


@pytest.fixture
def stores(settings: Settings, normals: Path) -> Iterator[Stores]:
    with EmbeddedSystem(settings) as system:
        shelf = product_shelf(system.stores, load_models(system.stores))
        shelf.add("cloth", normal=[normals], false_reject_rate=0.1)
        shelf.add("heap", batch=[normals])
        shelf.add("rare", normal=[normals / "n0.png", normals / "n1.png"])
    opened = open_stores(settings)
    yield opened
    opened.engine.dispose()


def refine(stores: Stores, product: str = "cloth", *, steps: int) -> RefinedProduct:
    models = load_models(stores)
    refining = Refining(
        revising=revising(stores, models),
        networks_of=models.networks_of,
        checkpoints=stores.settings.home / "training",
    )
    return refining.refine(product, by="ada", refinement=Refinement(steps=steps, crops=4))


def current(stores: Stores) -> Recipe:
    with reading(stores.engine) as connection:
        recipe = load_recipe(connection, current_recipes(connection)["cloth"])
    assert recipe is not None
    return recipe


def test_a_network_that_helps_is_used_and_learns_on_from_reviews(
    stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = iter((0.8, 0.9))  # on grain the patch memory sees everything, and no network can gain
    monkeypatch.setattr("pipelines.learn.refine._told", lambda *_: next(measured))
    before = current(stores)
    done = refine(stores, steps=20)
    after = current(stores)
    assert done.hindrances == ()
    assert (done.made_before, done.made_after) == (0.8, 0.9)
    assert done.is_current
    assert after.hash == done.recipe != before.hash
    assert after.localizer.name == f"{PATCH_MEMORY}+{SURFACE_NETWORK}"
    assert after.decision.review_p == before.decision.review_p, "the rate asked for stays"
    with reading(stores.engine) as connection:
        roles = [each.role for each in load_normals(connection, after.hash)]
        revision = next(each for each in list_revisions(connection, "cloth") if each.is_current)
        old_roles = [each.role for each in load_normals(connection, before.hash)]
    assert sorted(roles) == sorted(old_roles), "all its frames are there to be learned again"
    assert roles.count(NormalRole.LEARNED) > roles.count(NormalRole.HELD_OUT)
    assert (revision.parent, revision.made_by) == (before.hash, "ada")
    assert not list((stores.settings.home / "training").iterdir()), "a finished training leaves nothing"
    with EmbeddedSystem(stores.settings) as system:
        models = load_models(system.stores)
        frames = write(tmp_path / "frames", hole=hole(2000), good=grain(3000))
        scan(system.stores.log, [frames], product=lambda _: "cloth")
        system.run_until_done(models)
        outcomes = {Path(each.name or "").stem: each.outcome for each in verdicts_of(system.stores)}
    assert outcomes["hole"] is Outcome.FAIL
    learning = Learning(revising=revising(stores, models), networks_of=models.networks_of)
    again = learning.learn("cloth", by="ada")
    assert again.parent == after.hash
    assert again.recipe != again.parent, "frames that brought the parts to one scale are learned now"
    assert current(stores).localizer.name == after.localizer.name


def test_a_refined_product_has_its_network_trained_on(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = iter((0.8, 0.9, 0.9, 0.95))
    monkeypatch.setattr("pipelines.learn.refine._told", lambda *_: next(measured))
    starts: list[DefectNetwork | None] = []

    def noted(*args: Any, start: DefectNetwork | None, **options: Any) -> DefectNetwork:
        starts.append(start)
        return train_on_normals(*args, start=start, **options)

    monkeypatch.setattr("pipelines.learn.defect_training.train_on_normals", noted)
    first = refine(stores, steps=3)
    once = current(stores)
    networks = load_models(stores).networks_of(once)
    stands = network_in(load_localizer(once, memories=stores.memories, networks=networks))
    second = refine(stores, steps=3)
    assert (second.parent, second.is_current) == (first.recipe, True)
    assert second.recipe != first.recipe
    assert second.expert == first.expert, "the network is not joined twice"
    before_first, before_second = starts
    assert before_first is None
    assert before_second is not None
    assert stands is not None
    assert torch.equal(before_second.to_logit.weight, stands.to_logit.weight)


def test_a_network_that_has_learned_nothing_is_stored_and_not_used(stores: Stores) -> None:
    before = current(stores)
    done = refine(stores, steps=1)
    assert not done.is_current
    assert "told from none no better than before" in done.hindrances[0]
    assert current(stores).hash == before.hash
    with reading(stores.engine) as connection:
        assert load_recipe(connection, done.recipe) is not None, "a person may still use it"


def test_a_stopped_training_goes_on(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.learn.defect_training.CHECKPOINT_EVERY_S", 0.0)
    told: list[int] = []

    class Stopped(Exception):
        pass

    def stop(what: str, done: int, of: int) -> None:
        told.append(done)
        if what == "learning what a defect is" and done == 2:
            raise Stopped

    models = load_models(stores)
    refining = Refining(
        revising=revising(stores, models),
        networks_of=models.networks_of,
        checkpoints=stores.settings.home / "training",
    )
    asked = Refinement(steps=3, crops=2)
    with pytest.raises(Stopped):
        refining.refine("cloth", by="ada", refinement=asked, progress=stop)
    with pytest.raises(Stopped):  # the one step that was kept is not done again
        refining.refine("cloth", by="ada", refinement=asked, progress=stop)
    assert told == [1, 2, 2]


def test_an_expert_that_learns_from_no_normal_frame_is_not_refined(stores: Stores) -> None:
    with pytest.raises(InputRefused, match=f"judged by '{MUSC}', which does not learn from normal frames"):
        refine(stores, "heap", steps=1)


def test_too_few_frames_are_refused_before_any_training(stores: Stores) -> None:
    with pytest.raises(
        InputRefused, match=r"has learned \d normal frames and holds out \d: refining takes 8 or"
    ):
        refine(stores, "rare", steps=1_000_000)
