"""A product with a template of each layout: added, inspected after a restart, and shown as people draw."""

import csv
from pathlib import Path

import cv2
import orjson
import pytest
from typer.testing import CliRunner

from pipelines.errors import InputRefused
from pipelines.frame import Envelope, Frame, Picture
from pipelines.localize.experts import TEMPLATE_DIFFERENCE
from pipelines.verdict import Outcome
from storage.database import reading
from storage.recipes import current_recipes
from tests.boards import LIGHT, photographed
from tests.plates import settings_of
from workers.cli import app
from workers.drawn_regions import learn_drawn_width, read_drawn
from workers.embedded import EmbeddedSystem
from workers.products import AddedProduct
from workers.wiring import load_models, product_shelf

LAYOUTS, EACH = 3, 8
SIZE = {"height": 160, "width": 200}


def frame_of(seed: int) -> Picture:
    shift = (seed * 7 % 11) / 3
    return photographed(layout=seed % LAYOUTS, left=shift, top=shift / 2, noise=3.0, seed=seed, **SIZE)


def flawed(seed: int) -> Picture:
    """With a hole of 9 px where copper is."""
    pixels = frame_of(seed).pixels.copy()
    rows, columns = (pixels[40:120, 40:160] < 90).nonzero()
    row, column = int(rows[len(rows) // 2]) + 40, int(columns[len(rows) // 2]) + 40
    pixels[row - 4 : row + 5, column - 4 : column + 5] = LIGHT
    return Picture(pixels=pixels)


def framed(picture: Picture) -> Frame:
    return Frame(
        envelope=Envelope(id="1", source="test", line="l"), picture=picture, product="board", sha256="0" * 64
    )


def written(folder: Path, pictures: list[Picture]) -> Path:
    folder.mkdir(parents=True)
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{number:03}.png"), picture.pixels)
    return folder


def added(home: Path, templates: Path, good: Path) -> AddedProduct:
    with EmbeddedSystem(settings_of(home)) as system:
        shelf = product_shelf(system.stores, load_models(system.stores))
        return shelf.add_templates("board", templates=[templates], normal=[good], false_reject_rate=0.05)


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(
        tmp_path_factory.mktemp("drawn") / "templates",
        [photographed(layout=k, **SIZE) for k in range(LAYOUTS)],
    )


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("normal") / "good", [frame_of(k) for k in range(LAYOUTS * EACH)])


def test_each_layout_is_compared_with_its_own_template(tmp_path: Path, templates: Path, good: Path) -> None:
    product = added(tmp_path, templates, good)
    assert product.recipe.localizer.name == TEMPLATE_DIFFERENCE
    assert len(product.recipe.calibration.scores) == LAYOUTS * EACH
    assert any("the one of 3 that fits" in note for note in product.notes)
    with EmbeddedSystem(settings_of(tmp_path)) as system:
        expert = load_models(system.stores).expert(product.recipe)
        seeds = range(100, 100 + LAYOUTS)
        bad = expert.inspect([framed(flawed(seed)) for seed in seeds])
        assert [each.verdict.outcome for each in bad] == [Outcome.FAIL] * LAYOUTS
        assert all(len(each.verdict.regions) == 1 for each in bad)
        other = expert.inspect([framed(photographed(layout=9, **SIZE))])
        assert other[0].verdict.outcome is Outcome.FAIL
        assert expert.nearest(framed(frame_of(50))) is not None


def test_the_command_line_takes_templates_and_drawn_boxes(
    tmp_path: Path, templates: Path, good: Path
) -> None:
    run, home = CliRunner(), ["--home", str(tmp_path / "home")]
    given = ["--template", str(templates), "--normal", str(good), "--false-reject-rate", "0.05", "--json"]
    done = run.invoke(app, [*home, "products", "add", "board", *given])
    assert done.exit_code == 0, done.output
    assert orjson.loads(done.stdout)["frames"] == LAYOUTS * EACH

    cv2.imwrite(str(tmp_path / "bad.png"), flawed(100).pixels)
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("picture,left,top,right,bottom\nbad.png,0,0,200,160\n")
    done = run.invoke(app, [*home, "products", "regions", "board", "--drawn", str(boxes), "--json"])
    assert done.exit_code == 0, done.output
    told = orjson.loads(done.stdout)
    assert told["boxes"] == 1
    assert told["margin_px"] > 40


def test_a_normal_frame_without_its_template_is_refused(tmp_path: Path, templates: Path, good: Path) -> None:
    (few := tmp_path / "few").mkdir()
    for name in ("000.png", "001.png"):
        (few / name).write_bytes((templates / name).read_bytes())
    with pytest.raises(InputRefused, match=r"8 of 24 normal frames \(by name, the 3\., 6\., 9\.") as refusal:
        added(tmp_path / "home", few, good)
    assert "add the templates of their layouts" in str(refusal.value)


def test_an_unreadable_template_is_not_left_out_silently(tmp_path: Path, templates: Path, good: Path) -> None:
    (broken := tmp_path / "broken").mkdir()
    for file in templates.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "001.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(InputRefused, match=r"1 templates cannot be read .*001\.png"):
        added(tmp_path / "home", broken, good)


def test_boxes_that_people_drew_make_another_recipe_with_wider_regions(
    tmp_path: Path, templates: Path, good: Path
) -> None:
    product = added(tmp_path / "home", templates, good)
    pictures = written(tmp_path / "shown", [flawed(seed) for seed in range(100, 104)])
    with EmbeddedSystem(settings_of(tmp_path / "home")) as system:
        stores, models = system.stores, load_models(system.stores)
        expert = models.expert(product.recipe)
        tight = [expert.inspect([framed(flawed(seed))])[0].verdict.regions[0] for seed in range(100, 104)]
        with (tmp_path / "boxes.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["picture", "left", "top", "right", "bottom"])
            for number, box in enumerate(tight):
                sides = (box.left - 6, box.top - 6, box.right + 6, box.bottom + 6)
                rows.writerow([pictures / f"{number:03}.png", *sides])
        recipe, width = learn_drawn_width(
            "board",
            tmp_path / "boxes.csv",
            engine=stores.engine,
            memories=stores.memories,
            networks=models.networks_of,
        )
        assert (width.margin_px, width.boxes) == (6, 4)
        assert recipe.hash != product.recipe.hash
        with reading(stores.engine) as connection:
            assert current_recipes(connection) == {"board": recipe.hash}
        (region,) = models.expert(recipe).inspect([framed(flawed(100))])[0].verdict.regions
        assert (region.left, region.top) == (tight[0].left - 6, tight[0].top - 6)
        assert orjson.dumps(product.recipe.calibration) == orjson.dumps(recipe.calibration)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a,b\n", "the first line must be picture,left,top,right,bottom"),
        ("picture,left,top,right,bottom\nx.png,1,2,three,4\n", "boxes.csv:2: left, top, right and bottom"),
        ("picture,left,top,right,bottom\nx.png,1,2,1,4\n", "boxes.csv:2: an empty box"),
        ("picture,left,top,right,bottom\nx.png,1,2\n", "boxes.csv:2: left, top, right and bottom"),
    ],
)
def test_a_file_of_boxes_says_what_is_wrong_with_it(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "boxes.csv").write_text(text)
    with pytest.raises(InputRefused, match=complaint):
        read_drawn(tmp_path / "boxes.csv")
