"""``INSERT … ON CONFLICT`` for either database, which SQLAlchemy spells once per dialect."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, Table
from sqlalchemy.dialects.postgresql import Insert as PostgresInsert
from sqlalchemy.dialects.sqlite import Insert as SqliteInsert


def insert_new(connection: Connection, into: Table, row: Mapping[str, object]) -> bool:
    """Insert unless a unique key is taken; True if the row is new."""
    statement = _insert(connection, into).values(row).on_conflict_do_nothing()
    # Of an INSERT, SQLAlchemy forgets the row count unless told.
    return connection.execute(statement.execution_options(preserve_rowcount=True)).rowcount == 1


def insert_or_update(
    connection: Connection,
    into: Table,
    row: Mapping[str, object],
    *,
    key: Sequence[str],
    kept: Sequence[str] = (),
) -> None:
    """Insert, or overwrite the row of the same ``key`` except its key and the ``kept`` columns."""
    changes = {name: value for name, value in row.items() if name not in (*key, *kept)}
    statement = _insert(connection, into).values(row)
    connection.execute(statement.on_conflict_do_update(index_elements=list(key), set_=changes))


def _insert(connection: Connection, into: Table) -> PostgresInsert | SqliteInsert:
    return PostgresInsert(into) if connection.dialect.name == "postgresql" else SqliteInsert(into)
