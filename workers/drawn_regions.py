"""Regions as wide as a plant's people draw them: a new recipe of a product, learned from boxes in a file."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.decoding import decode_picture
from pipelines.errors import FrameRejected, InputRefused
from pipelines.frame import Geometry
from pipelines.frame_evidence import weigh
from pipelines.regions import Region
from storage.database import reading, transaction
from storage.recipes import current_recipes, load_recipe, save_recipe, set_current
from workers.recipe_loading import load_localizer

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from pipelines.learn.drawn_boxes import DrawnFrame, DrawnWidth
    from pipelines.localize.expert_kind import Networks
    from pipelines.localize.localizer import Localizer
    from pipelines.recipe import Recipe
    from storage.pictures import PictureStore

COLUMNS = ("picture", "left", "top", "right", "bottom")


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnBox:
    """A half-open box in pixels of its picture."""

    left: int
    top: int
    right: int
    bottom: int


def read_drawn(file: Path) -> dict[Path, list[DrawnBox]]:
    """{picture: boxes} from a CSV file with `COLUMNS`; pictures are named as seen from the file's folder.

    Raises:
        InputRefused: The file cannot be read, or a line is not a picture and a box.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputRefused(f"{file}: cannot be read as UTF-8 text: {error}") from error
    rows = csv.DictReader(text.splitlines())
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise InputRefused(f"{file}: the first line must be {','.join(COLUMNS)}")
    drawn: dict[Path, list[DrawnBox]] = {}
    for row in rows:
        drawn.setdefault(file.parent / str(row["picture"]), []).append(_box(row, f"{file}:{rows.line_num}"))
    return drawn


def _box(row: Mapping[str | None, str | None], place: str) -> DrawnBox:
    try:
        left, top, right, bottom = (int(row[side] or "") for side in COLUMNS[1:])
    except ValueError as error:
        raise InputRefused(f"{place}: left, top, right and bottom must be whole numbers of pixels") from error
    if not (0 <= left < right and 0 <= top < bottom):
        raise InputRefused(f"{place}: an empty box")
    return DrawnBox(left=left, top=top, right=right, bottom=bottom)


def learn_drawn_width(
    product: str,
    file: Path,
    *,
    engine: Engine,
    memories: PictureStore,
    networks: Callable[[Recipe], Networks],
) -> tuple[Recipe, DrawnWidth]:
    """Make a recipe current that differs from the product's present one in how wide its regions are.

    Raises:
        InputRefused: There is no such product, a picture cannot be read, or no box holds what was found.
    """
    from pipelines.learn.drawn_boxes import DrawnFrame, learned_margin

    with reading(engine) as connection:
        recipe = load_recipe(connection, current_recipes(connection).get(product, ""))
    if recipe is None:
        raise InputRefused(f"product {product!r} is not known: triad products list names those that are")
    localizer = load_localizer(recipe, memories=memories, networks=networks(recipe))
    tight = replace(recipe, regions=replace(recipe.regions, margin_px=None, merge_px=None))
    frames: list[DrawnFrame] = [
        DrawnFrame(boxes=boxes, regions=_regions_of(picture, tight, localizer))
        for picture, boxes in read_drawn(file).items()
    ]
    width = learned_margin(frames)
    widened = replace(recipe, regions=width.widened(recipe.regions))
    with transaction(engine) as connection:
        set_current(connection, product, save_recipe(connection, widened))
    return widened, width


def _regions_of(file: Path, recipe: Recipe, localizer: Localizer) -> tuple[Region, ...]:
    try:
        picture = decode_picture(file.read_bytes(), geometry=Geometry(), name=file.name)
        (anomaly,) = localizer.localize([picture])
    except OSError as error:
        raise InputRefused(f"{file}: {error.strerror}") from error
    except FrameRejected as rejection:
        raise InputRefused(f"{file}: {rejection}") from rejection
    return weigh(anomaly, picture, recipe).regions
