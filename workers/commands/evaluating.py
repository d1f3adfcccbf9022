"""``triad evaluate``: how good the evidence is on labelled frames."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.errors import InputRefused
from workers.commands.context import loaded_settings
from workers.terminal import bars, print_json, print_table, say

if TYPE_CHECKING:
    from pipelines.learn.datasets import MvtecProduct
    from pipelines.recipe import Recipe
    from workers.labelled_run import Figures, LabelledRun
    from workers.wiring import Stores

_FIGURES = ("image_auroc", "aupro", "f1", "overkill", "escape")


def evaluate(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="MVTec layout: train/good, test/CLASS, ground_truth/CLASS.")],
    product: Annotated[
        str | None, typer.Option(help="Which product; the folder's name where not given.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many frames of each class.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure image AUROC, AUPRO, F1, overkill and escape on labelled frames, per class and mean.

    A review counts as a reject. Nothing is stored: these frames do not enter the log.

    Example: triad evaluate data/bracket --limit 50
    """
    from pipelines.learn.datasets import read_mvtec_layout
    from workers.labelled_run import run_labelled
    from workers.wiring import load_models, open_stores

    products = read_mvtec_layout(folder).products
    if product is not None and len(products) > 1:
        raise InputRefused(
            f"{folder}: holds {len(products)} products; name the folder of one, or leave --product"
        )
    stores = open_stores(loaded_settings(context).settings)
    recipes = [_recipe(stores, each, product or each.name, folder) for each in products]
    models = load_models(stores)
    runs: list[LabelledRun] = []
    with bars() as progress:
        for each, recipe in zip(products, recipes, strict=True):
            title = f"inspecting {each.name}"
            runs.append(
                run_labelled(
                    each,
                    models.expert(recipe),
                    limit=limit,
                    progress=partial(progress, title),
                )
            )
    _tell(runs, as_json=as_json)


def _recipe(stores: Stores, known: MvtecProduct, name: str, folder: Path) -> Recipe:
    from storage.database import reading
    from storage.recipes import current_recipes, load_recipe

    with reading(stores.engine) as connection:
        current = current_recipes(connection).get(name)
        recipe = None if current is None else load_recipe(connection, current)
    if recipe is None:
        normal = known.train[0].parent if known.train else folder
        raise InputRefused(f"product {name!r} is not known: triad products add {name} --normal {normal}")
    return recipe


def _tell(runs: list[LabelledRun], *, as_json: bool) -> None:
    for run in runs:
        for line in run.rejected:
            say(f"not inspected: {line}")
    several = len(runs) > 1
    classes = {
        f"{run.product}/{name}" if several else name: figures
        for run in runs
        for name, figures in run.classes.items()
    }
    mean = {name: _mean(list(classes.values()), name) for name in _FIGURES}
    pooled = {run.product: asdict(run.pooled) for run in runs}
    frames = sum(run.pooled.frames for run in runs)
    spent_ms = sum(run.milliseconds_per_frame * run.pooled.frames for run in runs) / frames
    if as_json:
        shown = {name: asdict(figures) for name, figures in classes.items()}
        print_json({"mean": mean, "classes": shown, "all": pooled, "milliseconds_per_frame": spent_ms})
        return
    rows = [(name, figures.frames, *_cells(asdict(figures))) for name, figures in classes.items()]
    rows += [(f"all of {name}", figures["frames"], *_cells(figures)) for name, figures in pooled.items()]
    rows.append(("mean of classes", "", *_cells(mean)))
    columns = ("class", "frames", *_FIGURES)
    print_table(columns, rows, right=columns[1:])
    say(f"{spent_ms:.1f} ms per frame, decoding included; each class is measured against all normal frames")


def _mean(figures: list[Figures], name: str) -> float | None:
    values = [getattr(each, name) for each in figures if getattr(each, name) is not None]
    return fmean(values) if values else None


def _cells(figures: dict[str, float | None]) -> list[str]:
    return ["" if (value := figures[name]) is None else f"{value:.3f}" for name in _FIGURES]
