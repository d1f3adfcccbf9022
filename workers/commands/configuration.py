"""``triad config``: what is set, and where it came from."""

from typing import Annotated

import typer

from workers.commands.context import loaded_settings
from workers.settings import Origin, effective
from workers.terminal import print_items, print_table

app = typer.Typer(help="Settings: where things are.", no_args_is_help=True)


@app.callback()
def config() -> None:
    """Settings: where things are."""


@app.command("show")
def show(
    context: typer.Context,
    is_effective: Annotated[
        bool, typer.Option("--effective", help="Defaults too, not only what somebody set.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show settings and their origin: flags win over TRIAD_* variables, these over triad.toml.

    Example: triad config show --effective
    """
    rows = effective(loaded_settings(context))
    if not is_effective:
        rows = [row for row in rows if row["origin"] != Origin.DEFAULT.value]
    if as_json:
        print_items(rows)
        return
    columns = ("name", "value", "origin", "variable", "meaning")
    print_table(columns, [[row[column] for column in columns] for row in rows])
