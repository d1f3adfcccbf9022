"""Why a recipe took another's place: who asked for it, what it learned from, and what it changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from storage.database import database_now
from storage.schema import product, recipe, recipe_revision
from storage.upsert import insert_or_update


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeRevision:
    """A recipe of a product, and how it came to be; all but the first four are None for one from a folder.

    ``body`` is JSON: ``reviews`` (ids of verdicts), ``reviews_until`` (reviews up to then were looked at),
    ``before`` and ``after`` (figures), ``notes``.
    """

    recipe: str
    created_at: datetime
    is_current: bool
    product: str
    parent: str | None = None
    made_by: str | None = None
    body: Mapping[str, Any] | None = None


def save_revision(
    connection: Connection, recipe_hash: str, *, parent: str, made_by: str, body: Mapping[str, object]
) -> None:
    """Say why this recipe was made; learned again from the same, it is said again."""
    row = {
        "recipe": recipe_hash,
        "parent": parent,
        "made_by": made_by,
        "body": body,
        "created_at": database_now(connection),
    }
    insert_or_update(connection, recipe_revision, row, key=["recipe"])


def list_revisions(connection: Connection, of_product: str) -> tuple[RecipeRevision, ...]:
    """A product's recipes, the newest first."""
    found = (
        select(
            recipe.c.hash,
            recipe.c.created_at,
            recipe.c.product,
            product.c.recipe.label("current"),
            recipe_revision.c.parent,
            recipe_revision.c.made_by,
            recipe_revision.c.body,
        )
        .select_from(recipe)
        .join(product, product.c.name == recipe.c.product, isouter=True)
        .join(recipe_revision, recipe_revision.c.recipe == recipe.c.hash, isouter=True)
        .where(recipe.c.product == of_product)
        .order_by(recipe.c.created_at.desc(), recipe.c.hash)
    )
    return tuple(
        RecipeRevision(
            recipe=row.hash,
            created_at=row.created_at,
            is_current=row.hash == row.current,
            product=row.product,
            parent=row.parent,
            made_by=row.made_by,
            body=row.body,
        )
        for row in connection.execute(found)
    )
