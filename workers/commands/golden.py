"""``triad golden``: frames whose answer is known, sent through production to see that it has not moved."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.errors import InputRefused
from workers.commands.context import loaded_settings
from workers.exit_codes import EXIT_GOLDEN_MOVED
from workers.terminal import bars, print_items, print_json, print_table, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from storage.golden_checks import GoldenCheck
    from workers.settings import Settings

app = typer.Typer(help="Golden parts: frames whose answer is known.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_LOOKS_EVERY_S = 0.2
_TOLERANCE = 0.1  # `pipelines.golden.TOLERANCE`, whose own module brings numpy: `--help` does not wait for it


class Expectation(StrEnum):
    PASS = "pass"  # noqa: S105 -- an outcome, not a password
    FAIL = "fail"


@app.command("add")
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="LINE|PRODUCT", help="A declared line, or a product.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Pictures that the line could send.")],
    expect: Annotated[Expectation, typer.Option(help="What must be said of them; a review is no pass.")],
    tolerance: Annotated[
        float,
        typer.Option(
            min=0, help="How far the raw score may move, as a share of the spread of the calibration scores."
        ),
    ] = _TOLERANCE,
    product: Annotated[
        str | None, typer.Option(help="The product they show; else what the line makes.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Keep frames as golden parts, with the score that the current recipe gives them.

    A frame that is not answered as expected today is refused. The same frame again replaces what was
    expected of it.

    Example: triad golden add line-3 good-1.png good-2.png --expect pass
    """
    from pipelines.verdict import Outcome
    from workers.picture_files import require_pictures
    from workers.wiring import golden_shelf, load_models, open_stores

    require_pictures(files)
    stores = open_stores(loaded_settings(context).settings)
    shelf = golden_shelf(stores, load_models(stores))
    added = shelf.add(name, files, expected=Outcome(expect.value), tolerance=tolerance, product=product)
    if as_json:
        print_items(
            [
                {"id": each.part.id, "name": each.part.name, "recipe": each.recipe}
                | {"score": each.score, "p_value": each.p_value}
                for each in added
            ]
        )
        return
    for each in added:
        say(f"{each.part.id}: {each.part.name} is expected to {expect.value}, raw score {each.score:.4g}")


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List golden parts with what was last said of each.

    Example: triad golden list
    """
    from storage.database import reading
    from storage.golden_checks import latest_checks
    from storage.golden_parts import list_golden_parts
    from workers.wiring import open_stores

    stores = open_stores(loaded_settings(context).settings)
    with reading(stores.engine) as connection:
        parts = list_golden_parts(connection)
        latest = {each.golden_part: each for each in latest_checks(connection)}
    if as_json:
        print_items(
            [
                {"id": part.id, "line": part.line, "product": part.product, "name": part.name}
                | {"expected": part.expected.value, "tolerance": part.tolerance}
                | {"last_check": check_item(latest[part.id]) if part.id in latest else None}
                for part in parts
            ]
        )
        return
    rows = []
    for part in parts:
        check = latest.get(part.id)
        at = f"{check.checked_at:%Y-%m-%d %H:%M:%S} UTC" if check and check.checked_at else "never"
        rows.append((part.id, part.product, part.name, part.expected, check and check.result, at))
    print_table(("id", "product", "name", "expected", "result", "checked"), rows)


@app.command("remove")
def remove(
    context: typer.Context,
    part_id: Annotated[str, typer.Argument(metavar="ID", help="As `triad golden list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Send a golden part no more; what was said of it stays.

    Example: triad golden remove line-3/5f2c9a01b7d4e6f8
    """
    from storage.database import transaction
    from storage.golden_parts import remove_golden_part
    from workers.wiring import open_stores

    stores = open_stores(loaded_settings(context).settings)
    with transaction(stores.engine) as connection:
        is_removed = remove_golden_part(connection, part_id)
    if not is_removed:
        raise InputRefused(f"golden part {part_id!r}: there is none; `triad golden list` shows ids")
    if as_json:
        print_json({"removed": part_id})
    else:
        say(f"{part_id} is sent no more")


@app.command("run")
def run(
    context: typer.Context,
    wait_s: Annotated[
        float | None, typer.Option(min=0, help="Wait so long for answers; else TRIAD_GOLDEN_WAIT_S.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send every golden part through production now, and say whether an answer moved.

    On Kafka, planners judge the answers; this waits for them. Exits with 7 when an answer moved or none came.

    Example: triad golden run
    """
    settings = loaded_settings(context).settings
    checks = _run_embedded(settings) if settings.is_embedded else _run_on_kafka(settings, wait_s)
    if as_json:
        print_items([check_item(each) for each in checks])
    elif checks:
        _tell(checks)
    else:
        say("there are no golden parts: triad golden add LINE FILE --expect pass")
    if any(each.result != "ok" for each in checks):
        raise typer.Exit(EXIT_GOLDEN_MOVED)


def _run_embedded(settings: Settings) -> Sequence[GoldenCheck]:
    from datetime import timedelta

    from storage.database import reading
    from storage.golden_checks import checks_after, newest_check_id
    from workers.embedded import EmbeddedSystem
    from workers.golden_checking import GoldenChecker
    from workers.golden_sending import enter_golden_parts
    from workers.wiring import load_models

    with EmbeddedSystem(settings) as system, bars() as progress:
        stores = system.stores
        with reading(stores.engine) as connection:
            before = newest_check_id(connection)
        if enter_golden_parts(stores.log, stores.pictures):
            system.run_until_done(load_models(stores), progress)
            # All is done: what has no verdict now will have none.
            checker = GoldenChecker(engine=stores.engine, wait=timedelta(0))
            while checker.check():
                pass
        with reading(stores.engine) as connection:
            return checks_after(connection, before)


def _run_on_kafka(settings: Settings, wait_s: float | None) -> Sequence[GoldenCheck]:
    from storage.database import reading
    from storage.golden_checks import checks_after, newest_check_id
    from workers.processes import require_distributed
    from workers.wiring import golden_sender, open_stores

    require_distributed(settings)
    stores = open_stores(settings)
    with reading(stores.engine) as connection:
        before = newest_check_id(connection)
    sent = golden_sender(stores).send()
    until = time.monotonic() + (settings.golden_wait_s if wait_s is None else wait_s)
    while True:
        with reading(stores.engine) as connection:
            checks = checks_after(connection, before)[:sent]
        if all(each.result is not None for each in checks) or time.monotonic() >= until:
            return checks
        time.sleep(_LOOKS_EVERY_S)


def check_item(check: GoldenCheck) -> dict[str, object]:
    """One check as JSON; ``result`` is null where nobody has judged it yet."""
    return {
        "golden_part": check.golden_part,
        "line": check.line,
        "product": check.product,
        "name": check.name,
        "expected": check.expected.value,
        "result": None if check.result is None else check.result.value,
        "outcome": None if check.outcome is None else check.outcome.value,
        "score": check.score,
        "expected_score": check.expected_score,
        "allowed_move": check.allowed_move,
        "recipe": check.recipe,
        "verdict": check.verdict_id,
        "sent_at": check.sent_at.isoformat(),
        "checked_at": None if check.checked_at is None else check.checked_at.isoformat(),
    }


def _tell(checks: Sequence[GoldenCheck]) -> None:
    columns = ("id", "name", "expected", "said", "raw score", "was", "may move", "result")
    rows = [
        (
            each.golden_part,
            each.name,
            each.expected,
            each.outcome or "nothing",
            _number(each.score),
            _number(each.expected_score),
            _number(each.allowed_move),
            each.result or "not judged yet: does a planner run?",
        )
        for each in checks
    ]
    print_table(columns, rows, right=columns[4:7])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
