"""Normal pictures to compare with, in generations: an index belongs to exactly one."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from sqlalchemy import Connection, func, insert, select

from storage.database import database_now
from storage.locks import lock
from storage.schema import reference


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReference:
    """``embedding`` is little-endian float32 bytes, None where the index keeps it alone."""

    sha256: str
    picture_uri: str
    embedding: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A reference; ``id`` is PRODUCT@GENERATION#PLACE, and ``place`` its row in the generation's index."""

    id: str
    product: str
    generation: int
    place: int
    sha256: str
    picture_uri: str
    embedding: bytes | None


def save_references(connection: Connection, product: str, pictures: Sequence[NewReference]) -> int:
    """Keep a new generation, places in the order given; its number, from 1. Older generations stay.

    Raises:
        ValueError: There is no picture.
    """
    if not pictures:
        raise ValueError(f"a generation of references of {product!r} needs a picture")
    lock(connection, f"references {product}")
    generation = (latest_generation(connection, product) or 0) + 1
    now = database_now(connection)
    rows = [
        asdict(picture)
        | {"id": f"{product}@{generation}#{place}", "product": product, "generation": generation}
        | {"place": place, "created_at": now}
        for place, picture in enumerate(pictures)
    ]
    connection.execute(insert(reference), rows)
    return generation


def latest_generation(connection: Connection, product: str) -> int | None:
    """The newest generation, or None."""
    found = select(func.max(reference.c.generation)).where(reference.c.product == product)
    newest: int | None = connection.execute(found).scalar_one()
    return newest


def load_references(connection: Connection, product: str, generation: int) -> tuple[Reference, ...]:
    """One generation by place; empty if there is none."""
    found = (
        select(*_COLUMNS)
        .where(reference.c.product == product, reference.c.generation == generation)
        .order_by(reference.c.place)
    )
    return tuple(Reference(**row._asdict()) for row in connection.execute(found))


def get_reference(connection: Connection, reference_id: str) -> Reference | None:
    """The reference of this id, or None."""
    row = connection.execute(select(*_COLUMNS).where(reference.c.id == reference_id)).one_or_none()
    return None if row is None else Reference(**row._asdict())


_COLUMNS = [reference.c[each.name] for each in fields(Reference)]
