"""Knowledge by product and revision; a verdict's rationale cites the revision it was reasoned with."""

from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection, Engine, Row, insert, select

from pipelines.knowledge import ProductKnowledge
from storage.database import database_now, reading
from storage.locks import lock
from storage.schema import knowledge as table

_ADAPTER = TypeAdapter(ProductKnowledge)


def save_knowledge(connection: Connection, knowledge: ProductKnowledge) -> int:
    """Keep a product's knowledge; the revision it now has, which is a new one only if something changed.

    Revisions count from 1. Going back to an older text is a change, and gets a new revision.
    """
    lock(connection, f"knowledge {knowledge.product}")
    known = latest_knowledge(connection, knowledge.product)
    if known is not None and known[1] == knowledge:
        return known[0]
    revision = 1 if known is None else known[0] + 1
    row = {
        "product": knowledge.product,
        "revision": revision,
        "body": _ADAPTER.dump_python(knowledge, mode="json"),
        "created_at": database_now(connection),
    }
    connection.execute(insert(table), row)
    return revision


def latest_knowledge(connection: Connection, product: str) -> tuple[int, ProductKnowledge] | None:
    """The newest revision's number and text, or None."""
    newest = table.c.revision.desc()
    found = select(table).where(table.c.product == product).order_by(newest).limit(1)
    row = connection.execute(found).one_or_none()
    return None if row is None else (row.revision, _knowledge(row))


def load_knowledge(connection: Connection, product: str, revision: int) -> ProductKnowledge | None:
    """One revision, or None."""
    found = select(table).where(table.c.product == product, table.c.revision == revision)
    row = connection.execute(found).one_or_none()
    return None if row is None else _knowledge(row)


class StoredKnowledge:
    """A ``pipelines.knowledge.KnowledgeBase`` over the database; each question is its own transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def latest(self, product: str) -> tuple[int, ProductKnowledge] | None:
        """The newest revision's number and text. Raises ``StageUnavailable``."""
        with reading(self._engine) as connection:
            return latest_knowledge(connection, product)

    def revision(self, product: str, revision: int) -> ProductKnowledge | None:
        """One revision, or None. Raises ``StageUnavailable``."""
        with reading(self._engine) as connection:
            return load_knowledge(connection, product, revision)


def _knowledge(row: Row[Any]) -> ProductKnowledge:
    return _ADAPTER.validate_python(row.body)
