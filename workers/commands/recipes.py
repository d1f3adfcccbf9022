"""``triad products learn``, ``refine``, ``use`` and ``recipes``: a product's recipes, and new ones of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.errors import InputRefused
from workers.commands.context import loaded_settings
from workers.commands.reviewing import who
from workers.terminal import bars, print_items, print_json, print_table, say

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from storage.recipe_revisions import RecipeRevision
    from workers.learning import LearnedAgain
    from workers.refining import RefinedProduct

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Product = Annotated[str, typer.Argument(metavar="PRODUCT", help="See `triad products list`.")]


def learn(
    context: typer.Context,
    product: Product,
    false_reject_rate: Annotated[
        float | None, typer.Option(help="Another rate than the recipe keeps now, such as 0.01.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change, and store nothing.")
    ] = False,
    allow_escapes: Annotated[
        bool,
        typer.Option("--allow-escapes", help="Use the new recipe though a known answer becomes wrong by it."),
    ] = False,
    by: Annotated[str | None, typer.Option(metavar="NAME", help="Who asks; else who is logged in.")] = None,
    as_json: AsJson = False,
) -> None:
    """Learn a product again from reviews: overruled rejects join its normal frames.

    The new recipe is used from the next planned frames on; the old one stays. Figures are of frames that
    people reviewed, each judged by a memory that has not learned it.

    Example: triad products learn bracket --dry-run
    """
    from workers.embedded import EmbeddedSystem
    from workers.learning import Learning
    from workers.wiring import load_models, revising

    with EmbeddedSystem(loaded_settings(context).settings) as system, bars() as progress:
        models = load_models(system.stores)
        learning = Learning(revising=revising(system.stores, models), networks_of=models.networks_of)
        done = learning.learn(
            product,
            by=by or who(),
            false_reject_rate=false_reject_rate,
            is_dry_run=dry_run,
            allows_escapes=allow_escapes,
            progress=progress,
        )
    _tell(done, as_json=as_json)
    if done.is_stored:
        _require_current(done)


def refine(
    context: typer.Context,
    product: Product,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Of training; 6,500, an hour or two on two cores, where not given."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the network's first weights and of what it is shown.")] = 0,
    by: Annotated[str | None, typer.Option(metavar="NAME", help="Who asks; else who is logged in.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train a network on a product's normal frames, and join it to the expert that guards it now.

    It learns from defects made by formula on those frames. The product is inspected as before meanwhile;
    stopped in the middle, the same command goes on from there.

    Example: triad products refine bracket
    """
    from pipelines.learn.defect_training import Refinement
    from workers.loaded_models import torch_device
    from workers.refining import Refining
    from workers.wiring import load_models, open_stores, revising

    settings = loaded_settings(context).settings
    stores = open_stores(settings)
    models = load_models(stores)
    refining = Refining(
        revising=revising(stores, models),
        networks_of=models.networks_of,
        checkpoints=settings.home / "training",
        device=torch_device(settings.device),
    )
    with bars() as progress:
        refinement = Refinement(seed=seed) if steps is None else Refinement(steps=steps, seed=seed)
        done = refining.refine(product, by=by or who(), refinement=refinement, progress=progress)
    _tell_refined(done, as_json=as_json)
    _require_current(done)


def use(
    context: typer.Context,
    product: Product,
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="The beginning of its hash.")],
    as_json: AsJson = False,
) -> None:
    """Inspect a product by one of its recipes from the next planned frames on.

    Example: triad products use bracket 71022d36
    """
    from storage.database import transaction
    from storage.recipes import current_recipes, set_current
    from workers.wiring import open_stores

    stores = open_stores(loaded_settings(context).settings)
    with transaction(stores.engine) as connection:
        chosen = _one_of(connection, product, recipe)
        before = current_recipes(connection).get(product)
        set_current(connection, product, chosen)
    if as_json:
        print_json({"product": product, "recipe": chosen, "before": before})
        return
    was = "as before" if before == chosen else f"and no longer by {(before or '')[:12]}"
    say(f"product {product} is inspected by {chosen[:12]}, {was}")


def recipes(context: typer.Context, product: Product, as_json: AsJson = False) -> None:
    """List a product's recipes, the newest first, with who made them of which reviews.

    Example: triad products recipes bracket
    """
    from storage.database import reading
    from storage.recipe_revisions import list_revisions
    from workers.wiring import open_stores

    stores = open_stores(loaded_settings(context).settings)
    with reading(stores.engine) as connection:
        found = list_revisions(connection, product)
    if not found:
        raise InputRefused(f"product {product!r} is not known: triad products add {product} --normal DIR")
    if as_json:
        print_items([_item(each) for each in found])
        return
    columns = ("", "recipe", "made", "by", "from", "overkill", "escapes")
    print_table(columns, [_cells(each) for each in found])


def _one_of(connection: Connection, product: str, prefix: str) -> str:
    from storage.recipe_revisions import list_revisions

    found = [each.recipe for each in list_revisions(connection, product) if each.recipe.startswith(prefix)]
    if len(found) != 1:
        said = "none of its recipes begins so" if not found else f"{len(found)} of its recipes begin so"
        raise InputRefused(
            f"product {product!r}, recipe {prefix!r}: {said}; `triad products recipes {product}` lists them"
        )
    return found[0]


def _tell(done: LearnedAgain, *, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        print_json(asdict(done))
        return
    for note in (*done.notes, *done.hindrances):
        say(note)
    rows = [
        (name, f"{figures.overkill} of {figures.overruled}", f"{figures.escapes} of {figures.defects}")
        for name, figures in ((f"{done.parent[:12]} (now)", done.before), (_name(done), done.after))
    ]
    print_table(("recipe", "overkill on overruled frames", "escapes of confirmed defects"), rows)
    say(f"{len(done.joined)} overruled rejects join the normal frames")
    if done.is_current:
        say(f"product {done.product} is inspected by {done.recipe[:12]} from the next frames on")


def _tell_refined(done: RefinedProduct, *, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        print_json(asdict(done))
        return
    for hindrance in done.hindrances:
        say(hindrance)
    say(
        f"expert {done.expert}: AUROC on {done.made} held-out frames with and without made defects "
        f"{done.made_before:.3f} → {done.made_after:.3f}"
    )
    if done.is_current:
        say(f"product {done.product} is inspected by {done.recipe[:12]} from the next frames on")


def _require_current(done: LearnedAgain | RefinedProduct) -> None:
    """Raises ``InputRefused``: what was asked for was made, and is not used."""
    if done.is_current:
        return
    raise InputRefused(
        f"recipe {done.recipe[:12]} is stored and not current: {done.hindrances[0]}"
        + (f", and {len(done.hindrances) - 1} more" if len(done.hindrances) > 1 else "")
        + f"; see above, and triad products use {done.product} {done.recipe[:12]} to use it all the same"
    )


def _name(done: LearnedAgain) -> str:
    return f"{done.recipe[:12]} (new)" if done.recipe != done.parent else f"{done.recipe[:12]} (the same)"


def _item(revision: RecipeRevision) -> dict[str, object]:
    return {
        "recipe": revision.recipe,
        "is_current": revision.is_current,
        "created_at": revision.created_at.isoformat(),
        "parent": revision.parent,
        "made_by": revision.made_by,
        "learning": revision.body,
    }


def _cells(revision: RecipeRevision) -> tuple[object, ...]:
    body = revision.body or {}
    before, after = body.get("before"), body.get("after")
    return (
        "now" if revision.is_current else "",
        revision.recipe[:12],
        f"{revision.created_at:%Y-%m-%d %H:%M:%S} UTC",
        revision.made_by or "",
        _origin(revision),
        _change(before, after, "overkill", "overruled"),
        _change(before, after, "escapes", "defects"),
    )


def _origin(revision: RecipeRevision) -> str:
    body = revision.body or {}
    if revision.parent is None:
        return "normal frames"
    what = "a trained network" if "refined" in body else f"{len(body['joined'])} reviews"
    return f"{what}, over {revision.parent[:12]}"


def _change(before: object, after: object, what: str, of: str) -> str:
    if not isinstance(before, dict) or not isinstance(after, dict):
        return ""
    return f"{before[what]} → {after[what]} of {after[of]}"
