"""The normal frames that a recipe was made from: what its memory learned, and what it was calibrated on."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from sqlalchemy import Connection, insert, select

from storage.locks import lock
from storage.schema import NormalRole, recipe_normal


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredNormal:
    """One normal frame. ``decoding`` says what its bytes do not (``Decoding``); None for files.

    ``verdict_id`` and ``part`` are of a reject that a person overruled, where it is one.
    """

    role: NormalRole
    sha256: str
    picture_uri: str
    decoding: Mapping[str, Any] | None = None
    verdict_id: str | None = None
    part: str | None = None


def save_normals(connection: Connection, recipe: str, normals: Sequence[StoredNormal]) -> None:
    """Keep them in the order given. A recipe's are kept once: the same recipe was made from the same."""
    lock(connection, f"normals {recipe}")
    if not normals or load_normals(connection, recipe):
        return
    rows = [asdict(each) | {"recipe": recipe, "place": place} for place, each in enumerate(normals)]
    connection.execute(insert(recipe_normal), rows)


def load_normals(connection: Connection, recipe: str) -> tuple[StoredNormal, ...]:
    """In their order; empty for a recipe made before they were kept."""
    columns = [recipe_normal.c[each.name] for each in fields(StoredNormal)]
    found = select(*columns).where(recipe_normal.c.recipe == recipe).order_by(recipe_normal.c.place)
    return tuple(StoredNormal(**row._asdict()) for row in connection.execute(found))
