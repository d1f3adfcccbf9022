"""Frames that a person has looked at: what a product can learn from."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from pipelines.verdict import Outcome
from storage.public_ids import public_id
from storage.schema import review, verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewedFrame:
    """A verdict with the latest review of it. ``case`` and ``note`` are the verdict's."""

    verdict_id: str
    line: str
    part: str | None
    sha256: str
    fast_outcome: Outcome
    reviewed: Outcome
    reviewer: str
    reviewed_at: datetime
    defect: str | None
    picture_uri: str | None
    note: str | None
    case: Mapping[str, Any] | None

    @property
    def is_overruled(self) -> bool:
        """The gate was told to reject it, and a person says that it is good."""
        return self.fast_outcome is not Outcome.PASS and self.reviewed is Outcome.PASS

    @property
    def is_defect(self) -> bool:
        return self.reviewed is Outcome.FAIL


def reviewed_frames(connection: Connection, product: str) -> tuple[ReviewedFrame, ...]:
    """Every reviewed frame of a product, of any run, in the order of their reviews; golden parts are none."""
    one = review.alias()
    latest = (
        select(func.max(one.c.id))
        .where(one.c.batch_id == review.c.batch_id, one.c.offset == review.c.offset)
        .scalar_subquery()
    )
    of_verdict = (
        (verdict.c.planned_at == review.c.planned_at)
        & (verdict.c.batch_id == review.c.batch_id)
        & (verdict.c.offset == review.c.offset)
    )
    names = ("batch_id", "offset", "line", "part", "sha256", "note", "case")
    found = (
        select(
            *(verdict.c[name] for name in names),
            func.coalesce(verdict.c.picture_uri, review.c.picture_uri).label("picture_uri"),
            verdict.c.outcome.label("fast_outcome"),
            review.c.outcome.label("reviewed"),
            review.c.reviewer,
            review.c.created_at.label("reviewed_at"),
            review.c.defect,
        )
        .select_from(review)
        .join(verdict, of_verdict)
        .where(verdict.c.product == product, verdict.c.golden_part.is_(None), review.c.id == latest)
        .order_by(review.c.id)
    )
    return tuple(
        ReviewedFrame(
            verdict_id=public_id(row.batch_id, row.offset),
            **{key: value for key, value in row._asdict().items() if key not in ("batch_id", "offset")},
        )
        for row in connection.execute(found)
    )
