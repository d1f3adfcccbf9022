"""Zones at `products add`, another threshold without refitting, and `evaluate`, as a person starts them."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import orjson
import pytest

from pipelines.localize.calibration import Calibration
from pipelines.localize.frame_score import ScoreRule
from pipelines.recipe import Recipe
from pipelines.verdict import Outcome
from storage.database import reading, transaction
from storage.recipes import current_recipes, list_recipes, load_recipe, save_recipe, set_current
from tests.fake_models import FakeModels
from tests.integration.test_command_line import complaint, triad
from tests.plates import (
    FAILING,
    GREY,
    PASSING,
    inspect_paths,
    settings_of,
    verdicts_of,
    write_plate,
)
from workers.embedded import EmbeddedSystem
from workers.manifest_scan import scan
from workers.wiring import open_stores

# p-values of the plates by their 39 calibration frames: 38/40, 2/40 and 1/40.
SPOTS = [PASSING] * 5 + [GREY] * 3 + [FAILING] * 2


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Ten plates inspected by fakes, at a rate of 5 %."""
    for number, spot in enumerate(SPOTS):
        write_plate(tmp_path / "plates" / f"{number}.png", spot, noise=number)
    inspect_paths(settings_of(tmp_path / "home"), [tmp_path / "plates"])
    return tmp_path / "home"


def current(home: Path, product: str = "plate") -> Recipe:
    stores = open_stores(settings_of(home))
    with reading(stores.engine) as connection:
        recipe = load_recipe(connection, current_recipes(connection)[product])
    stores.engine.dispose()
    assert recipe is not None
    return recipe


def test_a_new_threshold_is_a_new_recipe_that_says_what_it_would_have_changed(home: Path) -> None:
    old = current(home)

    done = triad("products", "threshold", "plate", "--false-reject-rate", "0.03", "--json", home=home)

    body = orjson.loads(done.stdout)
    assert done.returncode == 0
    assert body["before"] == {"pass": 5, "fail": 2, "review": 3}
    assert body["after"] == {"pass": 8, "fail": 2, "review": 0}
    assert (body["verdicts"], body["changed"], body["left_out"], body["is_kept"]) == (10, 3, 0, True)
    new = current(home)
    assert (new.hash, old.hash) == (body["recipe"], body["recipe_before"])
    assert (new.decision.review_p, new.localizer, new.calibration) == (0.03, old.localizer, old.calibration)
    stored = verdicts_of(open_stores(settings_of(home)))
    assert {verdict.recipe for verdict in stored} == {old.hash}


def test_frames_from_then_on_are_judged_by_it(home: Path, tmp_path: Path) -> None:
    triad("products", "threshold", "plate", "--false-reject-rate", "0.03", home=home)
    write_plate(tmp_path / "later" / "a.png", GREY, noise=40)

    with EmbeddedSystem(settings_of(home)) as system:
        scan(system.stores.log, [tmp_path / "later"], product=lambda _: "plate")
        system.run_until_done(FakeModels())
        (later,) = [v for v in verdicts_of(system.stores) if v.recipe == current(home).hash]
    assert later.fast_outcome is Outcome.PASS
    again = triad("products", "threshold", "plate", "--false-reject-rate", "0.05", "--json", home=home)
    body = orjson.loads(again.stdout)
    assert (body["verdicts"], body["changed"]) == (11, 4)  # scores are shared by both thresholds
    assert body["after"] == {"pass": 5, "fail": 2, "review": 4}


def test_a_dry_run_changes_nothing(home: Path) -> None:
    before = current(home).hash
    done = triad(
        *("products", "threshold", "plate", "--false-reject-rate", "0.1", "--dry-run", "--last", "4"),
        home=home,
    )

    assert done.returncode == 0
    assert "last 4 verdicts" in done.stdout.decode()
    assert "nothing was changed" in done.stderr.decode()
    assert current(home).hash == before
    stores = open_stores(settings_of(home))
    with reading(stores.engine) as connection:
        assert len(list_recipes(connection, "plate")) == 1


@pytest.mark.parametrize(
    ("product", "rate", "words"),
    [
        ("plate", "0.01", "needs 99 normal frames for calibration and there are 39"),
        ("plate", "1.5", "give a share between 0 and 1"),
        ("cup", "0.1", "triad products add cup --normal DIR"),
    ],
)
def test_a_threshold_that_cannot_be_had_is_refused(home: Path, product: str, rate: str, words: str) -> None:
    done = triad("products", "threshold", product, "--false-reject-rate", rate, home=home)

    assert done.returncode == 5
    assert words in complaint(done)


def test_scores_of_another_fit_are_left_out(home: Path) -> None:
    old = current(home)
    other = replace(old, calibration=Calibration.of(range(60)))
    stores = open_stores(settings_of(home))
    with transaction(stores.engine) as connection:
        set_current(connection, "plate", save_recipe(connection, other))
    stores.engine.dispose()

    done = triad("products", "threshold", "plate", "--false-reject-rate", "0.1", "--json", home=home)

    body = orjson.loads(done.stdout)
    assert (body["verdicts"], body["left_out"], body["changed"]) == (0, 10, 0)


ZONES = "zones:\n  - {name: smooth, left: 0, top: 0, right: 0.5, bottom: 1}\n"


def half_smooth(seed: int, *, mark: bool = False) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    rng = np.random.default_rng(seed)
    pixels = np.full((96, 192), 120, np.uint8) + rng.integers(0, 3, (96, 192), dtype=np.uint8)
    pixels[:, 96:] = rng.integers(40, 220, (96, 96), dtype=np.uint8)
    if mark:
        pixels[40:52, 40:52] = 90
    return pixels


def test_zones_are_read_at_products_add_and_kept_in_the_recipe(tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.mkdir()
    for seed in range(46):
        cv2.imwrite(str(good / f"{seed:02}.png"), half_smooth(seed))
    (tmp_path / "zones.yaml").write_text(ZONES)
    given = ("--zones", tmp_path / "zones.yaml", "--score-window-px", "3")
    adding = ("products", "add", "half", "--normal", good, *given)

    refused = triad(*adding, "--false-reject-rate", "0.01", home=tmp_path / "home")
    assert refused.returncode == 5
    assert "0.01 over 2 zones needs 199 normal frames" in complaint(refused)

    added = triad(*adding, "--false-reject-rate", "0.05", "--json", home=tmp_path / "home")
    assert added.returncode == 0, added.stderr
    assert any("2 zones is compared with itself" in note for note in orjson.loads(added.stdout)["notes"])
    recipe = current(tmp_path / "home", "half")
    assert recipe.groups is not None
    assert recipe.groups.places == ("smooth", "elsewhere")
    assert recipe.score_rule == ScoreRule(window_px=3)

    cv2.imwrite(str(tmp_path / "bad.png"), half_smooth(99, mark=True))
    done = triad("inspect", tmp_path / "bad.png", "--product", "half", "--json", home=tmp_path / "home")
    (item,) = orjson.loads(done.stdout)["items"]
    assert (item["fast_outcome"], item["note"]) == ("fail", "zone: smooth")
    compared = triad(
        *("products", "threshold", "half", "--false-reject-rate", "0.06", "--dry-run", "--json"),
        home=tmp_path / "home",
    )
    body = orjson.loads(compared.stdout)
    assert (body["verdicts"], body["before"]["fail"], body["after"]["fail"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--zones", "{folder}/zones.yaml"), "zones.yaml: zones[0].right is 7; write a share from 0 to 1"),
        (("--zones", "{folder}/none.yaml"), "none.yaml: cannot be read"),
        (("--score-window-px", "8"), "a window of 8 px: give an odd number from 3 to 255"),
    ],
)
def test_what_cannot_be_used_at_products_add_is_refused(
    tmp_path: Path, given: tuple[str, ...], words: str
) -> None:
    plate = write_plate(tmp_path / "plate.png")
    (tmp_path / "zones.yaml").write_text(ZONES.replace("0.5", "7"))
    asked = [each.format(folder=tmp_path) for each in given]
    done = triad("products", "add", "x", "--normal", plate, *asked, home=tmp_path / "home")

    assert done.returncode == 5
    assert words in complaint(done)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A product in MVTec layout: 12 normals to learn from, 6 normal and 6 marked frames with masks."""
    folder = tmp_path_factory.mktemp("data") / "half"
    for part in ("train/good", "test/good", "test/mark", "ground_truth/mark"):
        (folder / part).mkdir(parents=True)
    for seed in range(12):
        cv2.imwrite(str(folder / "train" / "good" / f"{seed}.png"), half_smooth(seed))
    mask = np.zeros((96, 192), np.uint8)
    mask[40:52, 40:52] = 255
    for seed in range(6):
        cv2.imwrite(str(folder / "test" / "good" / f"{seed}.png"), half_smooth(100 + seed))
        cv2.imwrite(str(folder / "test" / "mark" / f"{seed}.png"), half_smooth(200 + seed, mark=True))
        cv2.imwrite(str(folder / "ground_truth" / "mark" / f"{seed}_mask.png"), mask)
    return folder


def test_evaluate_gives_a_column_for_each_number_of_normals(tmp_path: Path, labelled: Path) -> None:
    done = triad("evaluate", labelled, "--normals", "1,4,all", "--json", home=tmp_path / "home")

    assert done.returncode == 0, done.stderr
    reports = orjson.loads(done.stdout)["normals"]
    assert list(reports) == ["1", "4", "all"]
    for report in reports.values():
        figures = report["classes"]["mark"]
        assert figures["frames"] == 12
        assert set(figures["intervals"]) == {"image_auroc", "overkill", "escape", "overkill_at_95"}
        for name, (low, high) in figures["intervals"].items():
            assert 0 <= low <= figures[name] + 1e-9
            assert figures[name] - 1e-9 <= high <= 1
        assert 0 <= figures["f1"] <= figures["f1_max"] <= 1
        assert 0 < figures["aupro"] <= 1
    table = triad("evaluate", labelled, "--normals", "4", home=tmp_path / "home").stdout.decode()
    assert "overkill_at_95" in table
    assert "4 normals" in table


@pytest.mark.parametrize(
    ("normals", "words"),
    [("1,x", "write numbers of frames, such as 1,4,16,all"), ("0", "write numbers"), ("13", "half has 12")],
)
def test_numbers_of_normals_that_are_none_are_refused(
    tmp_path: Path, labelled: Path, normals: str, words: str
) -> None:
    done = triad("evaluate", labelled, "--normals", normals, home=tmp_path / "home")

    assert done.returncode == 5
    assert words in complaint(done)
