"""``triad verdicts``: what was decided, and why."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from pipelines.errors import InputRefused
from workers.commands.context import loaded_settings
from workers.terminal import print_items, print_json, print_table, say

if TYPE_CHECKING:
    from storage.verdict_queries import VerdictFilter

app = typer.Typer(help="Stored verdicts.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Product = Annotated[str | None, typer.Option(help="Only this product.")]
Line = Annotated[str | None, typer.Option(help="Only this line.")]


class OutcomeName(StrEnum):
    """`Outcome`, whose own module brings the imaging libraries: `--help` does not wait for them."""

    PASS = "pass"  # noqa: S105 -- an outcome, not a password
    FAIL = "fail"
    REVIEW = "review"


Outcomes = Annotated[
    list[OutcomeName] | None, typer.Option("--outcome", help="Only this outcome; may be repeated.")
]
Since = Annotated[datetime | None, typer.Option(help="Planned at this time or later; UTC.")]
Until = Annotated[datetime | None, typer.Option(help="Planned before this time; UTC.")]
Run = Annotated[int, typer.Option(help="0 is the live run; others are replays.")]


@app.command("list")
def list_(
    context: typer.Context,
    product: Product = None,
    line: Line = None,
    outcome: Outcomes = None,
    since: Since = None,
    until: Until = None,
    run: Run = 0,
    limit: Annotated[int, typer.Option(help="At most this many, 1 to 1000.")] = 50,
    golden: Annotated[bool, typer.Option("--golden", help="Golden parts, which are else left out.")] = False,
    after: Annotated[str | None, typer.Option(help="The cursor that the page before ended with.")] = None,
    time_zone: Annotated[str, typer.Option(help="For the times shown, such as Europe/Berlin.")] = "UTC",
    as_json: AsJson = False,
) -> None:
    """List verdicts, newest first.

    Example: triad verdicts list --outcome fail --outcome review --limit 20
    """
    from console.columns import verdict_item
    from console.tables import NUMBER_COLUMNS, VERDICT_COLUMNS, verdict_rows
    from storage.database import reading
    from storage.verdict_queries import list_verdicts
    from workers.wiring import open_stores

    wanted = replace(_filter(product, line, outcome, since, until, run), is_golden=golden)
    stores = open_stores(loaded_settings(context).settings)
    with reading(stores.engine) as connection:
        page = list_verdicts(connection, wanted, after=after, limit=limit)
    if as_json:
        print_items([verdict_item(verdict) for verdict in page.items], next_cursor=page.next)
        return
    print_table(VERDICT_COLUMNS, verdict_rows(page.items, zone=_zone(time_zone)), right=NUMBER_COLUMNS)
    if page.next:
        say(f"there are more: add --after {page.next}")


@app.command("show")
def show(
    context: typer.Context,
    verdict_id: Annotated[
        str, typer.Argument(metavar="ID", help="The verdict's id, as `triad verdicts list` shows it.")
    ],
    as_json: AsJson = False,
) -> None:
    """Show one verdict with its evidence and its rationale.

    Example: triad verdicts show 12-345
    """
    from console.columns import verdict_item
    from storage.database import reading
    from storage.verdict_queries import get_verdict
    from workers.commands.verdict_text import verdict_lines
    from workers.wiring import open_stores

    stores = open_stores(loaded_settings(context).settings)
    with reading(stores.engine) as connection:
        verdict = get_verdict(connection, verdict_id)
    if verdict is None:
        raise InputRefused(f"verdict {verdict_id!r}: there is none; `triad verdicts list` shows ids")
    if as_json:
        print_json(verdict_item(verdict))
        return
    for line in verdict_lines(verdict, stores.pictures):
        typer.echo(line)


@app.command("export")
def export(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Where to: a name that ends in .json, .csv or .parquet.")],
    format_: Annotated[
        str | None, typer.Option("--format", help="json, csv or parquet, whatever the name.")
    ] = None,
    product: Product = None,
    line: Line = None,
    outcome: Outcomes = None,
    since: Since = None,
    until: Until = None,
    run: Run = 0,
    as_json: AsJson = False,
) -> None:
    """Write verdicts to a file, oldest first; an existing file is replaced when all went well.

    Example: triad verdicts export rejects.csv --outcome fail
    """
    from console.export import export_verdicts, format_of
    from storage.database import reading
    from storage.verdict_queries import iterate_verdicts
    from workers.wiring import open_stores

    wanted = _filter(product, line, outcome, since, until, run)
    kind = format_of(file if format_ is None else Path(f"x.{format_}"))
    stores = open_stores(loaded_settings(context).settings)
    with reading(stores.engine) as connection:
        rows = export_verdicts(file, kind, iterate_verdicts(connection, wanted))
    if as_json:
        print_json({"file": str(file), "format": kind.value, "rows": rows})
    else:
        say(f"{rows} verdicts written to {file}")


def _filter(
    product: str | None,
    line: str | None,
    outcomes: list[OutcomeName] | None,
    since: datetime | None,
    until: datetime | None,
    run: int,
) -> VerdictFilter:
    from pipelines.verdict import Outcome
    from storage.verdict_queries import VerdictFilter

    utc = ZoneInfo("UTC")
    return VerdictFilter(
        run_id=run,
        product=product,
        line=line,
        outcomes=tuple(Outcome(name.value) for name in outcomes or ()),
        since=since.replace(tzinfo=utc) if since else None,
        until=until.replace(tzinfo=utc) if until else None,
    )


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise InputRefused(f"time zone {name!r} is not known; write one such as Europe/Berlin") from error
