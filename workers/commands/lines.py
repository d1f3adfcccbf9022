"""``triad lines``: the production lines, as their site declares them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.errors import InputRefused
from workers.commands.context import loaded_settings
from workers.terminal import print_items, print_json, print_table, say

if TYPE_CHECKING:
    from pipelines.lines import DeclaredLine

app = typer.Typer(help="Production lines: where frames come from.", no_args_is_help=True)


@app.command("apply")
def apply(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A YAML file that declares lines; see docs/lines.md.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Declare lines: sizes, time zone, products by time, priority. All of the file, or nothing of it.

    A line that is declared again is replaced; lines that the file does not name stay as they are.

    Example: triad lines apply lines.yaml
    """
    from pipelines.lines import read_lines
    from storage.database import transaction
    from storage.lines import save_line
    from storage.recipes import current_recipes
    from workers.wiring import open_stores

    declared = read_lines(_text_of(file), file=str(file))
    stores = open_stores(loaded_settings(context).settings)
    with transaction(stores.engine) as connection:
        changed = [each.line.id for each in declared if save_line(connection, each)]
        known = current_recipes(connection)
    missing = sorted({product for each in declared for product in _products(each)} - known.keys())
    for product in missing:
        say(f"product {product!r} is not known yet: triad products add {product} --normal DIR")
    if as_json:
        unchanged = [each.line.id for each in declared if each.line.id not in changed]
        print_json({"changed": changed, "unchanged": unchanged, "unknown_products": missing})
        return
    say(f"{len(changed)} of {len(declared)} lines changed")


@app.command("list")
def list_(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List the lines that were declared.

    Example: triad lines list
    """
    from dataclasses import asdict

    from storage.database import reading
    from storage.lines import list_lines
    from workers.wiring import open_stores

    stores = open_stores(loaded_settings(context).settings)
    with reading(stores.engine) as connection:
        declared = list_lines(connection)
    if as_json:
        print_items(
            [{**asdict(each.line), "products": list(map(asdict, each.products))} for each in declared]
        )
        return
    columns = ("line", "site", "products", "size", "pixels", "time zone", "priority")
    print_table(columns, [_cells(each) for each in declared], right=("priority",))


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InputRefused(f"{file}: cannot be read: {why}; give a YAML file") from error


def _products(declared: DeclaredLine) -> list[str]:
    """Every product it was ever declared to make, in the order of time."""
    first = [declared.line.product] if declared.line.product else []
    return [*first, *(each.product for each in declared.products)]


def _cells(declared: DeclaredLine) -> tuple[object, ...]:
    line, geometry = declared.line, declared.line.geometry
    size = f"{geometry.width_px or 'any'} × {geometry.height_px or 'any'}"
    size += "" if line.seam_px is None else f", web with {line.seam_px} px seams"
    pixels = geometry.pixel_format or ("" if geometry.bit_depth is None else f"{geometry.bit_depth} bit")
    products = ", ".join(_products(declared))
    return line.id, line.site, products, size, pixels, line.time_zone, line.priority
