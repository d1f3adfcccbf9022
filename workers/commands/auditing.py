"""``triad audit``: the proof that every frame that entered has exactly one end."""

from dataclasses import asdict
from typing import Annotated

import typer

from workers.commands.context import loaded_settings
from workers.exit_codes import EXIT_AUDIT_FAILED
from workers.terminal import print_json, print_table, say

_COUNTS = ("verdict", "dead_letter", "gap", "lost", "skipped", "pending", "holes", "doubles", "strays")


def audit(
    context: typer.Context,
    run: Annotated[int, typer.Option(help="0 is the live run; others are replays.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check that every planned frame is a verdict, a dead letter, a gap or lost: exactly one of them.

    Exits with 4 when a frame has no end (a hole) or more than one (a double).

    Example: triad audit --json
    """
    from storage import audit as ledger_audit
    from storage.database import reading
    from workers.wiring import open_stores

    stores = open_stores(loaded_settings(context).settings)
    with reading(stores.engine) as connection:
        partitions = ledger_audit.audit(connection, run_id=run)
    totals = {name: sum(getattr(each, name) for each in partitions) for name in _COUNTS}
    if as_json:
        print_json(totals | {"partitions": [asdict(each) for each in partitions]})
    else:
        print_table(_COUNTS, [[totals[name] for name in _COUNTS]], right=_COUNTS)
    if all(each.is_clean for each in partitions):
        return
    for each in partitions:
        for what, spans in (("hole", each.hole_spans), ("double", each.double_spans)):
            for span in spans:
                say(
                    f"{what}: log {each.log_id} partition {each.partition} offsets {span.first} to {span.end}"
                )
    raise typer.Exit(EXIT_AUDIT_FAILED)
