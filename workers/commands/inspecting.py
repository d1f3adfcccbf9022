"""``triad inspect``: files and folders in, verdicts and a page out."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.errors import InputRefused
from workers.commands.context import loaded_settings
from workers.exit_codes import EXIT_NOT_ALL_INSPECTED
from workers.terminal import bars, counts_line, print_json, print_table, say

if TYPE_CHECKING:
    from console.report_values import CountRow
    from workers.embedded import EmbeddedSystem
    from workers.loaded_models import LoadedModels
    from workers.manifest_scan import Scan
    from workers.run_outcome import RunOutcome
    from workers.terminal import Bars
    from workers.wiring import Stores

COUNT_COLUMNS = ("line", "product", "frames", "pass", "review", "fail", "dead letters")


def inspect(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Pictures, or folders of pictures.")],
    product: Annotated[
        str | None, typer.Option(help="Which product they show; see `triad products list`.")
    ] = None,
    inspects_again: Annotated[
        bool, typer.Option("--again", help="Inspect files again that have not changed since.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Inspect pictures and write a page about them.

    Without a product the pictures are taken as each other's reference: what stands out goes to review,
    nothing fails. A file that has not changed keeps its verdict. Stopped in the middle, the same command
    goes on from there.

    Example: triad inspect shift-1/ --product bracket
    """
    from workers.embedded import EmbeddedSystem, require_embedded
    from workers.manifest_scan import scan
    from workers.picture_files import require_pictures
    from workers.run_outcome import outcome_of
    from workers.wiring import load_models

    require_pictures(paths)
    settings = loaded_settings(context).settings
    require_embedded(settings)
    with EmbeddedSystem(settings) as system, bars() as progress:
        models = load_models(system.stores)
        name, notes = _product_for(system, models, paths, product, progress)
        found = scan(
            system.stores.log,
            paths,
            product=lambda _: name,
            inspects_again=inspects_again,
            progress=lambda done, of: progress("looking through files", done, of),
        )
        if found.entered:
            require_loadable(system.stores, models, name)
        system.run_until_done(models, progress)
        run = outcome_of(system.stores, found.offsets)
        page = _write_page(system, run, _named(paths), notes)
    _tell(run, found, notes, page, as_json=as_json)
    if not run.is_all_inspected:
        raise typer.Exit(EXIT_NOT_ALL_INSPECTED)


def _product_for(
    system: EmbeddedSystem, models: LoadedModels, paths: list[Path], product: str | None, progress: Bars
) -> tuple[str, tuple[str, ...]]:
    """The product's name, and what the person should know about it."""
    from storage.database import reading
    from storage.recipes import current_recipes
    from workers.wiring import product_shelf

    with reading(system.stores.engine) as connection:
        known = current_recipes(connection)
    if product is not None:
        if product not in known:
            names = ", ".join(sorted(known)) or "none yet"
            raise InputRefused(
                f"product {product!r} is not known (known: {names}): "
                f"triad products add {product} --normal DIR"
            )
        return product, ()
    name = unlabelled_name(paths)
    better = (
        "to do better, start a product from normal frames: triad products add NAME --normal DIR, "
        "then triad inspect PATH --product NAME"
    )
    if name in known:
        return name, (f"no product given: judged as {name}, as the first time", better)
    added = product_shelf(system.stores, models).add_unlabelled(name, paths=paths, progress=progress)
    used = f"no product given: took {added.frames} of the pictures as each other's reference (product {name})"
    return name, (used, *added.notes, better)


def require_loadable(stores: Stores, models: LoadedModels, product: str) -> None:
    """Load the product's models now: nothing is planned yet, so a recipe that cannot be used harms no frame.

    Raises:
        InputRefused: What the recipe names is gone; the product has to be added again.
    """
    from storage.database import reading
    from storage.recipes import current_recipes, load_recipe

    with reading(stores.engine) as connection:
        recipe = load_recipe(connection, current_recipes(connection)[product])
    assert recipe is not None, f"product {product} has no recipe"
    models.expert(recipe)


def unlabelled_name(paths: list[Path]) -> str:
    """A product name for these very paths: the same ones get the same, and so the same recipe."""
    absolute = sorted(str(path.absolute()) for path in paths)
    digest = hashlib.sha256("\0".join(absolute).encode("utf-8", "surrogateescape")).hexdigest()[:8]
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", paths[0].absolute().name).strip("-._")[:40] or "folder"
    return f"{readable}-{digest}"


def _named(paths: list[Path]) -> str:
    return ", ".join(map(str, paths[:3])) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")


def _write_page(system: EmbeddedSystem, run: RunOutcome, named: str, notes: tuple[str, ...]) -> Path:
    from workers.run_report import PageWords, write_run_report

    words = PageWords(
        title="Inspection",
        subtitle=named,
        notes=notes,
        commands=("triad verdicts list", "triad verdicts export verdicts.csv", "triad audit"),
    )
    file = system.stores.reports / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.html"
    return write_run_report(system.stores, run, words, file)


def _tell(run: RunOutcome, found: Scan, notes: tuple[str, ...], page: Path, *, as_json: bool) -> None:
    from workers.run_report import count_rows

    for note in notes:
        say(note)
    for folder in found.closed_folders:
        say(f"{folder}: cannot be listed, so nothing in it was inspected")
    if as_json:
        _print_run(run, found, notes, page)
        return
    print_table(COUNT_COLUMNS, [count_cells(row) for row in count_rows(run, {})], right=COUNT_COLUMNS[2:])
    for dead in run.dead_letters[:20]:
        say(f"dead letter: {dead.name}: {dead.reason}: {dead.detail}")
    if len(run.dead_letters) > 20:
        say(f"and {len(run.dead_letters) - 20} more dead letters")
    if found.unchanged:
        say(f"{found.unchanged} files have not changed and keep their verdicts (--again inspects them again)")
    say(f"{counts_line(run.counts())}; {found.ignored} other files ignored")
    say(f"page: {page}")


def count_cells(row: CountRow) -> tuple[object, ...]:
    """A row under ``COUNT_COLUMNS``."""
    return row.line, row.product, row.frames, row.passed, row.review, row.failed, row.dead_letters


def _print_run(run: RunOutcome, found: Scan, notes: tuple[str, ...], page: Path) -> None:
    from console.columns import verdict_item

    dead = [
        {"id": each.id, "name": each.name, "reason": each.reason.value, "detail": each.detail}
        for each in run.dead_letters
    ]
    print_json(
        {
            "items": [verdict_item(verdict) for verdict in run.verdicts],
            "next": None,
            "dead_letters": dead,
            "counts": run.counts(),
            "entered": found.entered,
            "unchanged": found.unchanged,
            "ignored": found.ignored,
            "notes": notes,
            "page": str(page),
        }
    )
