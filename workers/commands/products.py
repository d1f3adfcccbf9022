"""``triad products``: which products can be inspected, and how a new one is started."""

import re
from pathlib import Path
from typing import Annotated

import typer

from pipelines.errors import InputRefused
from workers.commands.context import loaded_settings
from workers.terminal import bars, print_items, print_json, print_table, say

app = typer.Typer(help="Products and how each is inspected.", no_args_is_help=True)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # it becomes part of ids that use @, # and /


@app.command("add")
def add(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(help="The product's name: letters, digits, dots, dashes, underscores.")
    ],
    normal: Annotated[
        list[Path] | None, typer.Option(help="A folder of normal frames; may be repeated.")
    ] = None,
    batch: Annotated[
        list[Path] | None,
        typer.Option(help="A folder of frames that nobody looked at, most of them good; may be repeated."),
    ] = None,
    expert: Annotated[
        str | None,
        typer.Option(
            help="One expert, or several joined by +; see `triad products experts`.", metavar="NAME"
        ),
    ] = None,
    text: Annotated[
        str | None, typer.Option(help='What the frames show, such as "a photo of a ceramic tile".')
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            help="A folder with a DINOv2, DINOv3 or CLIP model to see by, in place of TRIAD_BACKBONE."
        ),
    ] = None,
    template: Annotated[
        list[Path] | None,
        typer.Option(help="A folder with one template of each layout (bare boards); may be repeated."),
    ] = None,
    knowledge: Annotated[Path | None, typer.Option(help="What the plant knows of it: a YAML file.")] = None,
    zones: Annotated[
        Path | None, typer.Option(help="Parts of the frame to be judged by themselves: a YAML file.")
    ] = None,
    score_window_px: Annotated[
        int | None,
        typer.Option(help="Score a frame by its worst square of so many pixels a side, not its worst pixel."),
    ] = None,
    false_reject_rate: Annotated[
        float | None, typer.Option(help="The share of normal frames that may be rejected, such as 0.01.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Learn a product from normal frames; adding it again replaces how it is inspected from then on.

    Without --expert the one is taken that fits what is given, and said why. Without normal frames, or with
    too few for any rate, frames are passed or reviewed and never failed.

    Example: triad products add bracket --normal good/ --false-reject-rate 0.01
    """
    from workers.embedded import EmbeddedSystem
    from workers.picture_files import require_pictures
    from workers.wiring import load_models, product_shelf

    require_product_name(name)
    for folders in (normal, batch, template):
        if folders:
            require_pictures(folders)
    with EmbeddedSystem(loaded_settings(context).settings) as system, bars() as progress:
        shelf = product_shelf(
            system.stores,
            load_models(system.stores),
            features=None if features is None else features.absolute(),
        )
        if template:
            if batch or expert or text:
                raise InputRefused(
                    "--template goes with --normal alone, not with --batch, --expert or --text"
                )
            added = shelf.add_templates(
                name,
                templates=template,
                normal=normal or (),
                knowledge=knowledge,
                zones=zones,
                score_window_px=score_window_px,
                false_reject_rate=false_reject_rate,
                progress=progress,
            )
        else:
            added = shelf.add(
                name,
                normal=normal or (),
                batch=batch or (),
                expert=expert,
                text=text,
                knowledge=knowledge,
                zones=zones,
                score_window_px=score_window_px,
                false_reject_rate=false_reject_rate,
                progress=progress,
            )
    for line in added.unreadable:
        say(f"not used: {line}")
    if as_json:
        body = {"product": name, "recipe": added.recipe.hash, "expert": added.recipe.localizer.name}
        print_json(body | {"frames": added.frames, "notes": added.notes, "unreadable": added.unreadable})
        return
    for note in added.notes:
        say(note)
    say(f"product {name} is ready: triad inspect FOLDER --product {name}")


@app.command("regions")
def regions(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A product that was added.")],
    drawn: Annotated[
        Path, typer.Option(help="Boxes that people drew: a CSV file with picture,left,top,right,bottom.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make regions as wide as people draw them; a handful of boxes is enough.

    Example: triad products regions board --drawn drawn/boxes.csv
    """
    from workers.drawn_regions import learn_drawn_width
    from workers.embedded import EmbeddedSystem
    from workers.wiring import load_models

    with EmbeddedSystem(loaded_settings(context).settings) as system:
        stores = system.stores
        recipe, width = learn_drawn_width(
            name,
            drawn,
            engine=stores.engine,
            memories=stores.memories,
            networks=load_models(stores).networks_of,
        )
    if as_json:
        body = {"product": name, "recipe": recipe.hash, "boxes": width.boxes}
        print_json(body | {"margin_px": width.margin_px, "merge_px": width.merge_px})
        return
    say(
        f"from {width.boxes} boxes: regions get a margin of {width.margin_px} px, "
        f"and what lies up to {width.merge_px} px apart is one region"
    )


@app.command("threshold")
def threshold(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The product's name.")],
    false_reject_rate: Annotated[
        float, typer.Option(help="The share of normal frames that may be rejected, such as 0.01.")
    ],
    last: Annotated[int, typer.Option(min=0, max=100_000, help="Verdicts to compare over.")] = 1000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only compare; change nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Give a product another false-reject rate without learning it again: a new recipe, with a new hash.

    Shows what the last stored verdicts would have been under the old and under the new one, from their raw
    scores. Stored verdicts do not change; frames planned from now on are judged by the new recipe.

    Example: triad products threshold bracket --false-reject-rate 0.005 --dry-run
    """
    from storage.database import reading, transaction
    from workers.rethreshold import compare_threshold, keep_threshold
    from workers.wiring import open_stores

    stores = open_stores(loaded_settings(context).settings)
    with reading(stores.engine) as connection:
        change = compare_threshold(connection, name, rate=false_reject_rate, last=last)
    if not dry_run:
        with transaction(stores.engine) as connection:
            keep_threshold(connection, change)
    if as_json:
        print_json(change.as_json() | {"is_kept": not dry_run})
        return
    outcomes = [outcome.value for outcome in change.before]
    rows = [("before", *change.before.values()), ("after", *change.after.values())]
    print_table((f"last {change.verdicts} verdicts", *outcomes), rows, right=outcomes)
    if change.left_out:
        say(f"{change.left_out} verdicts left out: their scores come from another fit of this product")
    say(f"{change.changed} would be another; recipe {change.new.hash[:12]} instead of {change.old.hash[:12]}")
    say("nothing was changed (--dry-run)" if dry_run else f"product {name} is inspected by it from now on")


@app.command("simulate")
def simulate(
    context: typer.Context,
    normals: Annotated[int, typer.Option(min=20, max=2000, help="Normal frames to learn each from.")] = 64,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Learn the products of the simulated lines, to try a system out: see `triad produce --simulate`.

    Example: triad products simulate
    """
    from workers.demo_lines import learn_lines
    from workers.embedded import EmbeddedSystem
    from workers.wiring import load_models

    with EmbeddedSystem(loaded_settings(context).settings) as system, bars() as progress:
        models = load_models(system.stores)
        learned = learn_lines(system.stores, models, normals=normals, progress=progress)
    if as_json:
        print_items(learned)
        return
    say(f"learned {', '.join(learned) or 'nothing: all are known'}")


@app.command("experts")
def experts(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List the experts that can look at a product's frames, and what each needs.

    Example: triad products experts
    """
    from pipelines.localize.experts import EXPERTS

    items = [{"expert": kind.name, "needs": kind.needs.words, "does": kind.does} for kind in EXPERTS.values()]
    if as_json:
        print_items(items)
        return
    columns = ("expert", "needs", "does")
    print_table(columns, [tuple(item[column] for column in columns) for item in items])
    say("several may be joined, such as patch-memory+subspace")


@app.command("list")
def list_(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List products with the recipe that each is inspected by now.

    Example: triad products list
    """
    from storage.database import reading
    from storage.recipes import current_recipes, load_recipe
    from workers.wiring import open_stores

    stores = open_stores(loaded_settings(context).settings)
    with reading(stores.engine) as connection:
        current = sorted(current_recipes(connection).items())
        recipes = [recipe for _, key in current if (recipe := load_recipe(connection, key)) is not None]
    items = [
        {
            "product": recipe.product,
            "recipe": recipe.hash,
            "profile": recipe.profile,
            "calibration_frames": len(recipe.calibration.scores),
            "false_reject_rate": None if recipe.decision.is_provisional else recipe.decision.review_p,
            "knowledge_revision": recipe.knowledge_revision,
        }
        for recipe in recipes
    ]
    if as_json:
        print_items(items)
        return
    columns = ("product", "recipe", "calibration frames", "false-reject rate", "knowledge")
    rows = [
        (
            item["product"],
            str(item["recipe"])[:12],
            item["calibration_frames"],
            "provisional" if item["false_reject_rate"] is None else item["false_reject_rate"],
            item["knowledge_revision"],
        )
        for item in items
    ]
    print_table(columns, rows, right=columns[2:])


def require_product_name(name: str) -> None:
    """Raises ``InputRefused`` for a name that could not stand in an id or a path."""
    if not _NAME.fullmatch(name):
        raise InputRefused(
            f"product name {name!r}: use at most 64 letters, digits, dots, dashes and underscores, "
            "beginning with a letter or digit"
        )
