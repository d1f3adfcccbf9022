"""``triad replay``: frames of the past under another recipe."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.errors import InputRefused
from workers.commands.context import loaded_settings
from workers.commands.times import TIMES, as_utc
from workers.terminal import bars, print_json, say

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipelines.recipe import Recipe
    from storage.replays import Replay, Span


def replay(
    context: typer.Context,
    line: Annotated[str, typer.Option(help="Whose frames.")],
    recipe: Annotated[str, typer.Option(help="By which recipe: its hash, or the first digits of it.")],
    since: Annotated[
        datetime | None, typer.Option("--from", formats=TIMES, help="Frames of this time (UTC) and later.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--to", formats=TIMES, help="Frames before this time (UTC).")
    ] = None,
    partition: Annotated[int | None, typer.Option(min=0, help="Only this partition.")] = None,
    first: Annotated[int | None, typer.Option(min=0, help="From this offset on.")] = None,
    end: Annotated[int | None, typer.Option(min=1, help="Up to this offset, without it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Judge a line's frames of the past once more, under another recipe, beside their verdicts.

    Nothing that is stored changes, and nothing is published. On a distributed system workers do it, after
    everything live; here it is done before the command ends. What the log no longer holds is lost to it.

    Example: triad replay --line line-3 --from 2026-11-20T06:00:00 --to 2026-11-20T14:00:00 --recipe 71022d36
    """
    from storage.database import transaction
    from storage.replays import spans_of, start_replay
    from workers.wiring import open_stores

    settings = loaded_settings(context).settings
    stores = open_stores(settings)
    with transaction(stores.engine) as connection:
        chosen = _recipe(connection, recipe)
        found = spans_of(connection, line, since=as_utc(since), until=as_utc(until))
        spans = _within(found, partition=partition, first=first, end=end)
        started = start_replay(connection, line=line, product=chosen.product, recipe=chosen.hash, spans=spans)
    stores.engine.dispose()
    if settings.is_embedded:
        _run_here(context, started)
    _tell(started, spans, is_done=settings.is_embedded, as_json=as_json)


def _recipe(connection: Connection, prefix: str) -> Recipe:
    from storage.recipes import find_recipes, load_recipe

    found = find_recipes(connection, prefix)
    if len(found) != 1:
        many = "no recipe begins" if not found else f"{len(found)} recipes begin"
        raise InputRefused(f"--recipe {prefix!r}: {many} so; `triad products list --json` shows hashes")
    recipe = load_recipe(connection, found[0])
    assert recipe is not None
    return recipe


def _within(
    spans: tuple[Span, ...], *, partition: int | None, first: int | None, end: int | None
) -> tuple[Span, ...]:
    from dataclasses import replace

    kept = [each for each in spans if partition is None or each.partition == partition]
    cut = [
        replace(each, first=max(each.first, first or 0), end=each.end if end is None else min(each.end, end))
        for each in kept
    ]
    return tuple(each for each in cut if each.first < each.end)


def _run_here(context: typer.Context, started: Replay) -> None:
    from workers.embedded import EmbeddedSystem
    from workers.wiring import load_models

    with EmbeddedSystem(loaded_settings(context).settings) as system, bars() as progress:
        system.run_until_done(load_models(system.stores), progress)


def _tell(started: Replay, spans: tuple[Span, ...], *, is_done: bool, as_json: bool) -> None:
    offsets = sum(each.end - each.first for each in spans)
    if as_json:
        print_json(
            {"run": started.run_id, "line": started.line, "product": started.product, "offsets": offsets}
            | {"is_done": is_done}
        )
        return
    state = "done" if is_done else "planned; workers do it after everything live"
    say(f"run {started.run_id}: {offsets} offsets {state}")
    say(f"look: triad verdicts list --run {started.run_id}; triad audit --run {started.run_id}")
