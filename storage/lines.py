"""Declared lines, and what each makes when. Declaring a line again replaces all that was said of it."""

import threading
import time
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection, Engine, delete, insert, select

from pipelines.frame import Line
from pipelines.lines import DeclaredLine, ProductFrom, line_from_json, line_to_json
from storage.database import database_now, reading
from storage.locks import lock
from storage.schema import line as line_table
from storage.schema import line_product
from storage.upsert import insert_or_update

_MOST_KNOWN = 1000  # lines remembered by one process: ids come from outside, and may be anything


def save_line(connection: Connection, declared: DeclaredLine) -> bool:
    """Keep a line as it is declared; True if anything changed."""
    line = declared.line
    lock(connection, f"line {line.id}")
    if _load(connection, line.id) == declared:
        return False
    row = {"id": line.id, "body": line_to_json(line), "changed_at": database_now(connection)}
    insert_or_update(connection, line_table, row, key=["id"])
    connection.execute(delete(line_product).where(line_product.c.line == line.id))
    products = [
        {"line": line.id, "effective_from": each.effective_from, "product": each.product}
        for each in declared.products
    ]
    if products:
        connection.execute(insert(line_product), products)
    return True


def load_line(connection: Connection, line_id: str) -> Line | None:
    """The line of this id, or None if nobody declared it."""
    found = _load(connection, line_id)
    return None if found is None else found.line


def list_lines(connection: Connection) -> tuple[DeclaredLine, ...]:
    """Every declared line, by id."""
    products: dict[str, list[ProductFrom]] = {}
    for row in connection.execute(select(line_product).order_by(line_product.c.effective_from)):
        each = ProductFrom(effective_from=row.effective_from, product=row.product)
        products.setdefault(row.line, []).append(each)
    found = connection.execute(select(line_table.c.id, line_table.c.body).order_by(line_table.c.id))
    return tuple(
        DeclaredLine(line=line_from_json(row.body), products=tuple(products.get(row.id, ()))) for row in found
    )


def product_at(connection: Connection, line_id: str, at: datetime) -> str | None:
    """What the line makes at this time; None if it is not declared or nobody said."""
    found = _load(connection, line_id)
    return None if found is None else found.product_at(at)


class StoredLines:
    """Lines over the database, each remembered for some seconds; any thread may ask.

    A line that nobody declared is one that may send anything: no size, no product, no priority.
    """

    def __init__(
        self, engine: Engine, *, fresh_s: float = 5.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._fresh_s = fresh_s
        self._monotonic = monotonic
        self._known: dict[str, tuple[float, DeclaredLine]] = {}
        self._lock = threading.Lock()

    def line(self, line_id: str) -> Line:
        """What the line declares. Raises ``StageUnavailable``."""
        return self._declared(line_id).line

    def product_at(self, line_id: str, at: datetime) -> str | None:
        """What the line makes at this time; None if nobody said. Raises ``StageUnavailable``."""
        return self._declared(line_id).product_at(at)

    def _declared(self, line_id: str) -> DeclaredLine:
        with self._lock:
            now = self._monotonic()
            known = self._known.get(line_id)
            if known is not None and now - known[0] < self._fresh_s:
                return known[1]
            with reading(self._engine) as connection:
                declared = _load(connection, line_id) or DeclaredLine(line=Line(id=line_id))
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[line_id] = (now, declared)
            return declared


def _load(connection: Connection, line_id: str) -> DeclaredLine | None:
    found = select(line_table.c.body).where(line_table.c.id == line_id)
    body = connection.execute(found).scalar_one_or_none()
    if body is None:
        return None
    products = (
        select(line_product.c.effective_from, line_product.c.product)
        .where(line_product.c.line == line_id)
        .order_by(line_product.c.effective_from)
    )
    rows = connection.execute(products).all()
    return DeclaredLine(
        line=line_from_json(body),
        products=tuple(ProductFrom(effective_from=row.effective_from, product=row.product) for row in rows),
    )
