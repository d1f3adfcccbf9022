"""What a person says about a verdict: a row beside it, never a change of it."""

from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy import Connection, insert, select

from pipelines.errors import InputRefused
from pipelines.verdict import Outcome
from storage.database import database_now
from storage.public_ids import parse_id
from storage.schema import review
from storage.verdict_queries import get_verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One review; ``defect`` is a defect id of the product's knowledge, if the reviewer named one."""

    outcome: Outcome
    reviewer: str
    defect: str | None
    comment: str | None
    created_at: datetime


def save_review(
    connection: Connection,
    verdict_id: str,
    *,
    outcome: Outcome,
    reviewer: str,
    defect: str | None = None,
    comment: str | None = None,
    picture_uri: str | None = None,
) -> None:
    """Add a review; from now on the verdict stands at ``outcome``, whatever amendments say or will say.

    ``picture_uri`` is the frame's, where it was kept only now.

    Raises:
        InputRefused: There is no verdict of this id.
    """
    found = get_verdict(connection, verdict_id)
    if found is None:
        raise InputRefused(f"verdict {verdict_id!r}: there is none")
    place = {"planned_at": found.planned_at, "batch_id": found.batch_id, "offset": found.offset}
    row = {"outcome": outcome, "reviewer": reviewer, "defect": defect, "comment": comment}
    row |= {"picture_uri": picture_uri}
    connection.execute(insert(review).values(**place, **row, created_at=database_now(connection)))


def list_reviews(connection: Connection, verdict_id: str) -> tuple[Review, ...]:
    """A verdict's reviews, the latest first."""
    key = parse_id(verdict_id)
    if key is None:
        return ()
    columns = [review.c[each.name] for each in fields(Review)]
    found = select(*columns).where(review.c.batch_id == key[0], review.c.offset == key[1])
    return tuple(Review(**row._asdict()) for row in connection.execute(found.order_by(review.c.id.desc())))
