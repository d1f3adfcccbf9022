"""``triad retention``: removing what is old and done."""

import re
from dataclasses import asdict, fields
from datetime import timedelta
from typing import Annotated

import typer

from pipelines.errors import InputRefused
from workers.commands.context import loaded_settings
from workers.terminal import counts_line, print_json, say

_AGE = re.compile(r"([0-9]{1,5})([dw])")


def retention(
    context: typer.Context,
    older_than: Annotated[str, typer.Option(help="Days or weeks, such as 30d or 8w; at least 1d.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Remove verdicts, dead letters and messages that are older than this and done, by whole days (UTC).

    What is not done stays, whatever its age, and so does all that was planned after it. The audit stays
    clean, also when this is stopped in the middle; the same command then goes on.

    Example: triad retention --older-than 30d
    """
    from storage.database import transaction
    from storage.retention import Dropped, drop_older_than
    from workers.wiring import open_stores

    age = age_of(older_than)
    stores = open_stores(loaded_settings(context).settings)
    counts = {each.name: 0 for each in fields(Dropped) if each.name != "is_all"}
    is_all = False
    while not is_all:
        with transaction(stores.engine) as connection:
            dropped = drop_older_than(connection, age)
        is_all = dropped.is_all
        counts = {name: count + asdict(dropped)[name] for name, count in counts.items()}
    if as_json:
        print_json(counts)
        return
    say(f"removed: {counts_line({name.replace('_', ' '): count for name, count in counts.items()})}")


def age_of(text: str) -> timedelta:
    """Raises ``InputRefused`` for what is no age of at least a day."""
    match = _AGE.fullmatch(text)
    days = int(match[1]) * (7 if match[2] == "w" else 1) if match else 0
    if days < 1:
        raise InputRefused(f"--older-than {text!r}: write days or weeks, at least 1d, such as 30d or 8w")
    return timedelta(days=days)
