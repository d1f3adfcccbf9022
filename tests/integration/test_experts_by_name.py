"""Every expert from pictures to verdicts; recipes whose networks or scores are not as they were."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson
import pytest

from pipelines.errors import InputRefused, StageUnavailable
from pipelines.frame import Picture
from pipelines.localize import experts
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.experts import (
    MUSC,
    PATCH_MEMORY,
    REFERENCE_DIFFERENCE,
    STEM_MEMORY,
    SUBSPACE,
    SURFACE_NETWORK,
    WINCLIP,
)
from pipelines.localize.localizer import FittedLocalizer
from pipelines.verdict import Outcome
from storage.batches import BatchKind, backlog
from storage.database import reading
from tests.backbones import save_clip, save_dinov2
from tests.integration.test_command_line import complaint, triad
from tests.layouts import layout
from tests.plates import outcomes_of, settings_of, verdicts_of
from tests.surfaces import grain, with_defect
from workers.embedded import EmbeddedSystem
from workers.health import HealthServer
from workers.loaded_models import LoadedModels
from workers.manifest_scan import scan
from workers.products import AddedProduct
from workers.settings import Settings
from workers.wiring import load_models, product_shelf

NAME = "thing"


def written(folder: Path, pictures: Sequence[Picture], *, stem: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{stem}{number:03}.png"), picture.pixels)
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_of(tmp_path / "home", device="cpu")


@pytest.fixture
def normals(tmp_path: Path) -> Path:
    return written(tmp_path / "good", [grain(seed) for seed in range(27)])


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    pictures = [grain(100 + seed) for seed in range(43)]  # one that is worse may be among those held out
    return written(tmp_path / "batch", [*pictures, with_defect(grain(99))])


def added(settings: Settings, *, features: Path | None = None, **values: object) -> AddedProduct:
    with EmbeddedSystem(settings) as system:
        shelf = product_shelf(system.stores, load_models(system.stores), features=features)
        return shelf.add(NAME, **values)  # type: ignore[arg-type]


def inspected(settings: Settings, folder: Path) -> dict[str, Outcome]:
    with EmbeddedSystem(settings) as system:
        scan(system.stores.log, [folder], product=lambda _: NAME)
        system.run_until_done(load_models(system.stores))
        return outcomes_of(system.stores)


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """Two normal frames and a defective one."""
    folder = written(tmp_path / "asked", [grain(500), grain(501)], stem="good")
    return written(folder, [with_defect(grain(502))], stem="bad")


@pytest.mark.parametrize("expert", [PATCH_MEMORY, STEM_MEMORY, SUBSPACE, f"{PATCH_MEMORY}+{SUBSPACE}"])
def test_an_expert_asked_for_is_fitted_kept_and_fails_a_defect(
    settings: Settings, normals: Path, asked: Path, expert: str
) -> None:
    product = added(settings, normal=[normals], expert=expert, false_reject_rate=0.05)
    assert product.recipe.localizer.name == expert
    assert any(f"expert {expert}, as asked for" in note for note in product.notes)
    assert inspected(settings, asked)["bad000.png"] is Outcome.FAIL


def test_the_reference_difference_asked_for(settings: Settings, tmp_path: Path) -> None:
    normals = written(tmp_path / "printed", [layout(seed) for seed in range(26)])
    added(settings, normal=[normals], expert=REFERENCE_DIFFERENCE, false_reject_rate=0.05)
    asked = written(tmp_path / "asked", [with_defect(layout(500))], stem="bad")
    assert inspected(settings, asked) == {"bad000.png": Outcome.FAIL}


def test_a_batch_without_normals_sends_a_defect_to_review_and_fails_none(
    settings: Settings, batch: Path, asked: Path
) -> None:
    product = added(settings, batch=[batch])
    assert product.recipe.localizer.name == MUSC
    assert product.recipe.decision.is_provisional
    outcomes = inspected(settings, asked)
    assert outcomes["bad000.png"] is Outcome.REVIEW
    assert Outcome.FAIL not in outcomes.values()


def test_a_batch_beside_normals_keeps_a_rate(
    settings: Settings, normals: Path, batch: Path, asked: Path
) -> None:
    product = added(settings, normal=[normals], batch=[batch], expert=MUSC, false_reject_rate=0.05)
    assert len(product.recipe.calibration.scores) == 27
    assert inspected(settings, asked)["bad000.png"] is Outcome.FAIL


@pytest.mark.parametrize("count", [1, 4])
def test_a_handful_of_normals_pass_and_review(
    settings: Settings, tmp_path: Path, asked: Path, count: int
) -> None:
    few = written(tmp_path / "few", [grain(seed) for seed in range(count)])
    assert added(settings, normal=[few]).recipe.decision.is_provisional
    outcomes = inspected(settings, asked)
    assert outcomes["bad000.png"] is Outcome.REVIEW
    assert Outcome.FAIL not in outcomes.values()


def test_words_with_a_local_clip_model(
    settings: Settings, tmp_path: Path, normals: Path, asked: Path
) -> None:
    """Random weights see nothing, but the way from text to verdict is the real one."""
    folder = save_clip(tmp_path / "clip")
    product = added(settings, features=folder, normal=[normals], expert=WINCLIP, text="a photo of grain")
    assert product.recipe.localizer.backbone is not None
    assert product.recipe.localizer.backbone_folder == str(folder)
    assert len(product.recipe.calibration.scores) == 27
    assert len(inspected(settings, asked)) == 3


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"expert": WINCLIP}, "needs a text that names the product, a folder with a CLIP model"),
        ({"expert": MUSC}, "needs 8 or more unlabelled pictures, and there are"),
        ({"expert": SURFACE_NETWORK}, r"a network trained on the product \(triad products refine\)"),
        ({"expert": "padim"}, "expert 'padim' is not known"),
        ({"expert": REFERENCE_DIFFERENCE}, "needs frames that show one layout"),
    ],
)
def test_what_an_expert_lacks_is_said(
    settings: Settings, normals: Path, values: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputRefused, match=said):
        added(settings, normal=[normals], **values)


def test_a_backbones_features_are_found_again_wherever_they_lie(
    settings: Settings, tmp_path: Path, normals: Path, asked: Path
) -> None:
    folder = save_dinov2(tmp_path / "dinov2")
    added(settings, features=folder, normal=[normals], expert=SUBSPACE)
    elsewhere = tmp_path / "elsewhere"
    shutil.move(folder, elsewhere)

    with pytest.raises(StageUnavailable, match="set TRIAD_BACKBONE to its folder"):
        inspected(settings, asked)
    other = save_dinov2(tmp_path / "other", seed=1)
    with pytest.raises(StageUnavailable, match="other: holds backbone"):
        inspected(settings_of(settings.home, device="cpu", backbone=other), asked)
    assert len(inspected(settings_of(settings.home, device="cpu", backbone=elsewhere), asked)) == 3


def test_the_installations_backbone_serves_new_products_and_not_old_ones(
    settings: Settings, tmp_path: Path, normals: Path, asked: Path
) -> None:
    added(settings, normal=[normals])
    folder = save_dinov2(tmp_path / "dinov2")
    with_backbone = settings_of(settings.home, device="cpu", backbone=folder)
    assert inspected(with_backbone, asked)["bad000.png"] is not Outcome.PASS  # by the bundled features still
    product = added(with_backbone, normal=[normals])
    assert product.recipe.localizer.name == PATCH_MEMORY
    assert product.recipe.localizer.backbone is not None


@dataclass(frozen=True, slots=True)
class Drifting:
    """A localizer on a machine that rounds grossly."""

    inner: FittedLocalizer
    by: float

    @property
    def digest(self) -> str:
        return self.inner.digest

    def localize(self, pictures: Sequence[Picture]) -> list[AnomalyMap]:
        return [AnomalyMap(found.scores * np.float32(1 + self.by)) for found in self.inner.localize(pictures)]


def test_a_worker_that_scores_otherwise_judges_nothing_and_is_not_ready(
    settings: Settings, normals: Path, asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    product = added(settings, normal=[normals], false_reject_rate=0.05)
    load = experts.load_expert
    monkeypatch.setattr("workers.recipe_loading.load_expert", lambda *given: Drifting(load(*given), 0.01))
    with EmbeddedSystem(settings) as system:
        scan(system.stores.log, [asked], product=lambda _: NAME)
        models = load_models(system.stores)
        assert readiness(models) == (200, "")
        with pytest.raises(StageUnavailable, match="scores differently here than where it was fitted"):
            system.run_until_done(models)
        assert verdicts_of(system.stores) == []
        with reading(system.stores.engine) as connection:
            assert backlog(connection)[BatchKind.INSPECT].planned == 1  # handed back
        status, detail = readiness(models)
        assert status == 503
        assert product.recipe.hash[:12] in detail

    monkeypatch.setattr("workers.recipe_loading.load_expert", load)
    assert inspected(settings, asked)["bad000.png"] is Outcome.FAIL


def readiness(models: LoadedModels) -> tuple[int, str]:
    """What /readyz says, and of which recipe."""
    import http.client

    from tests.exposition import fresh_metrics

    server = HealthServer(
        host="127.0.0.1",
        port=0,
        registry=fresh_metrics(lines=["l"]).registry,
        version={},
        ready={"parity": models.parity},
    )
    with server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        try:
            connection.request("GET", "/readyz?verbose")
            response = connection.getresponse()
            body = orjson.loads(response.read())
        finally:
            connection.close()
    return response.status, "" if response.status == 200 else body["checks"]["parity"]["detail"]


def test_the_experts_are_listed_with_what_they_need(tmp_path: Path) -> None:
    listed = orjson.loads(triad("products", "experts", "--json", home=tmp_path / "home").stdout)["items"]
    needs = {item["expert"]: item["needs"] for item in listed}
    assert needs[SUBSPACE] == "1 or more normal frames"
    assert needs[MUSC] == "8 or more unlabelled pictures"
    assert "a text that names the product" in needs[WINCLIP]


def test_a_product_from_nothing_is_refused_in_a_line(tmp_path: Path) -> None:
    done = triad("products", "add", "cup", home=tmp_path / "home")
    assert done.returncode == 5
    assert "give normal frames (--normal) or a batch (--batch)" in complaint(done)


def test_the_command_line_takes_a_combination(tmp_path: Path, normals: Path) -> None:
    home = tmp_path / "home"
    done = triad(
        "products", "add", NAME, "--normal", normals, "--expert", "patch-memory+subspace", "--json", home=home
    )
    assert done.returncode == 0, done.stderr
    assert orjson.loads(done.stdout)["expert"] == "patch-memory+subspace"
