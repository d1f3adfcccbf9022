"""``triad evaluate``: how good the evidence is on labelled frames."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.errors import InputRefused
from workers.commands.context import loaded_settings
from workers.terminal import bars, print_json, print_table, say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipelines.learn.datasets import MvtecProduct
    from pipelines.recipe import Recipe
    from workers.labelled_run import LabelledRun
    from workers.loaded_models import LoadedModels
    from workers.terminal import Bars
    from workers.wiring import Stores

_FIGURES = ("image_auroc", "aupro", "f1", "f1_max", "overkill", "escape", "overkill_at_95")


def evaluate(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="MVTec layout: train/good, test/CLASS, ground_truth/CLASS.")],
    product: Annotated[
        str | None, typer.Option(help="Which product; the folder's name where not given.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many frames of each class.")] = None,
    normals: Annotated[
        str | None,
        typer.Option(help="Fit on so many of train/good instead, for the occasion: such as 1,4,16,all."),
    ] = None,
    expert: Annotated[
        str | None, typer.Option(help="With --normals: the expert to fit; see `triad products experts`.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure image AUROC, AUPRO, F1, overkill and escape on labelled frames, per class and mean.

    A review counts as a reject. `f1_max` and `overkill_at_95` (normal frames rejected where 95 % of the
    defective are found) are of thresholds chosen by the answers. Behind a figure stands its 95 % confidence
    interval. Nothing is stored: these frames do not enter the log.

    Example: triad evaluate data/bracket --normals 1,4,16,all
    """
    from pipelines.learn.datasets import read_mvtec_layout
    from workers.wiring import load_models, open_stores

    products = read_mvtec_layout(folder).products
    if product is not None and len(products) > 1:
        raise InputRefused(
            f"{folder}: holds {len(products)} products; name the folder of one, or leave --product"
        )
    if expert is not None and normals is None:
        raise InputRefused("--expert says what to fit: give --normals, such as --normals all")
    if product is not None and normals is not None:
        raise InputRefused("--normals fits anew and --product names what was fitted: leave one of them")
    stores = open_stores(loaded_settings(context).settings)
    if normals is not None:
        _evaluate_fitted(products, normals, load_models(stores), expert=expert, limit=limit, as_json=as_json)
        return
    recipes = [_recipe(stores, each, product or each.name, folder) for each in products]
    models = load_models(stores)
    with bars() as progress:
        runs = [
            _run(each, recipe, models, limit=limit, progress=progress)
            for each, recipe in zip(products, recipes, strict=True)
        ]
    _tell_rejected(runs)
    report = _report(runs)
    if as_json:
        print_json(report)
        return
    figures = _by_row(report)
    rows = [(name, each.get("frames", ""), *_cells(each)) for name, each in figures.items()]
    print_table(("class", "frames", *_FIGURES), rows, right=("frames", *_FIGURES))
    say(
        f"{report['milliseconds_per_frame']:.1f} ms per frame, decoding included; "
        "each class is measured against all normal frames; in brackets: 95 % confidence"
    )


def _run(
    product: MvtecProduct, recipe: Recipe, models: LoadedModels, *, limit: int | None, progress: Bars
) -> LabelledRun:
    from workers.labelled_run import run_labelled

    title = f"inspecting {product.name}"
    return run_labelled(product, models.expert(recipe), limit=limit, progress=partial(progress, title))


def _evaluate_fitted(
    products: Sequence[MvtecProduct],
    normals: str,
    models: LoadedModels,
    *,
    expert: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    from workers.fitted_run import ALL, normal_counts, runs_by_normals

    counts = normal_counts(normals)
    with bars() as progress:
        by_product = [
            runs_by_normals(
                each,
                counts,
                networks=models.networks(models.backbone),
                expert=expert,
                limit=limit,
                progress=progress,
            )
            for each in products
        ]
    names = [ALL if count is None else str(count) for count in counts]
    by_count = [list(runs) for runs in zip(*by_product, strict=True)]
    _tell_rejected(by_count[0])
    reports = dict(zip(names, (_report(runs) for runs in by_count), strict=True))
    if as_json:
        print_json({"normals": reports})
        return
    columns = [_by_row(report) for report in reports.values()]
    rows = [
        (name, figure, *(_cell(column[name], figure) for column in columns))
        for name in columns[0]
        for figure in _FIGURES
    ]
    titles = [f"{name} normals" for name in names]
    print_table(("class", "figure", *titles), rows, right=titles)
    say("fitted as `triad products add` would, without knowledge or a rate; in brackets: 95 % confidence")


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


def _tell_rejected(runs: Sequence[LabelledRun]) -> None:
    for run in runs:
        for line in run.rejected:
            say(f"not inspected: {line}")


def _report(runs: Sequence[LabelledRun]) -> dict[str, Any]:
    """As JSON has it; a class is named with its product where there are several."""
    several = len(runs) > 1
    classes = {
        f"{run.product}/{name}" if several else name: asdict(figures)
        for run in runs
        for name, figures in run.classes.items()
    }
    frames = sum(run.pooled.frames for run in runs)
    spent_ms = sum(run.milliseconds_per_frame * run.pooled.frames for run in runs) / frames
    return {
        "mean": {name: _mean(list(classes.values()), name) for name in _FIGURES},
        "classes": classes,
        "all": {run.product: asdict(run.pooled) for run in runs},
        "milliseconds_per_frame": spent_ms,
    }


def _by_row(report: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    pooled = {f"all of {name}": figures for name, figures in report["all"].items()}
    return {**report["classes"], **pooled, "mean of classes": report["mean"]}


def _mean(figures: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [each[name] for each in figures if each[name] is not None]
    return fmean(values) if values else None


def _cells(figures: Mapping[str, Any]) -> list[str]:
    return [_cell(figures, name) for name in _FIGURES]


def _cell(figures: Mapping[str, Any], name: str) -> str:
    value, interval = figures[name], figures.get("intervals", {}).get(name)
    if value is None:
        return ""
    return f"{value:.3f}" + (f" ({interval[0]:.2f}–{interval[1]:.2f})" if interval else "")
