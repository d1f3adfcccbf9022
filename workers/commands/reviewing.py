"""``triad review``: what a person says of a verdict."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.errors import InputRefused
from workers.commands.context import loaded_settings
from workers.terminal import print_json, say

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from storage.verdict_queries import StoredVerdict


def review(
    context: typer.Context,
    verdict_id: Annotated[
        str, typer.Argument(metavar="VERDICT", help="The verdict's id, as `triad verdicts list` shows it.")
    ],
    good: Annotated[bool, typer.Option("--good", help="The part is good.")] = False,
    defect: Annotated[bool, typer.Option("--defect", help="The part is defective.")] = False,
    defect_type: Annotated[
        str | None, typer.Option(help="Which defect, by its id in the product's knowledge.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who says so; else who is logged in.")
    ] = None,
    note: Annotated[str | None, typer.Option(metavar="TEXT", help="Anything worth knowing.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say whether a verdict was right. From then on it stands at what you say; the last review holds.

    `triad products learn` uses reviews: rejects that you overrule can join the normal frames.

    Example: triad review 12-345 --good --by ada
    """
    from pipelines.verdict import Outcome
    from storage.database import reading, transaction
    from storage.reviews import save_review
    from workers.frames_again import kept_again
    from workers.wiring import open_stores

    if good == defect:
        raise InputRefused("say what the part is: --good or --defect")
    if good and defect_type is not None:
        raise InputRefused("--defect-type goes with --defect: a good part has none")
    reviewer = by or who()
    outcome = Outcome.PASS if good else Outcome.FAIL
    stores = open_stores(loaded_settings(context).settings)
    with reading(stores.engine) as connection:
        verdict = _reviewed(connection, verdict_id, defect_type)
    picture_uri = kept_again(stores, verdict) if defect else verdict.picture_uri
    with transaction(stores.engine) as connection:
        save_review(
            connection,
            verdict_id,
            outcome=outcome,
            reviewer=reviewer,
            defect=defect_type,
            comment=note,
            picture_uri=picture_uri,
        )
    if as_json:
        body: dict[str, object] = {
            "verdict": verdict_id,
            "product": verdict.product,
            "outcome": outcome.value,
        }
        body |= {"was": verdict.outcome.value, "reviewer": reviewer, "defect": defect_type}
        print_json(body | {"picture_uri": picture_uri})
        return
    say(f"verdict {verdict_id} stands at {outcome.value} (it was {verdict.outcome.value}), by {reviewer}")
    if defect and picture_uri is None:
        say("its picture was not kept, and the log no longer holds it: nothing can be measured on it")


def _reviewed(connection: Connection, verdict_id: str, defect: str | None) -> StoredVerdict:
    """The verdict, where the defect is one that its product can have."""
    from storage.verdict_queries import get_verdict

    verdict = get_verdict(connection, verdict_id)
    if verdict is None:
        raise InputRefused(f"verdict {verdict_id!r}: there is none; `triad verdicts list` shows ids")
    if verdict.golden_part is not None:
        raise InputRefused(
            f"verdict {verdict_id!r} is on golden part {verdict.golden_part}, whose answer is known: "
            "triad golden add with another --expect changes it"
        )
    known = _known_defects(connection, verdict.product)
    if defect is not None and known and defect not in known:
        raise InputRefused(f"defect {defect!r}: product {verdict.product!r} knows {', '.join(known)}")
    return verdict


def _known_defects(connection: Connection, product: str) -> tuple[str, ...]:
    """Of the newest revision of its knowledge; none where there is no knowledge, and then any will do."""
    from storage.knowledge import latest_knowledge

    found = latest_knowledge(connection, product)
    return () if found is None else tuple(each.id for each in found[1].defects)


def who() -> str:
    """Who is logged in. Raises ``InputRefused`` where nobody can tell."""
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:  # a container's user often has no name
        raise InputRefused("nobody knows who you are here: say it with --by NAME") from error
