"""The migrations, from nothing, make exactly the schema that the code means; and they can be taken back."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, text

from storage.database import migrate, open_database, reading, transaction
from storage.ddl import create_schema
from storage.migrating import check, current_revision, downgrade, newest_revision, upgrade
from storage.schema import metadata
from tests.databases import fresh_postgres, postgres_server

_POSTGRES_CATALOGUE = """
SELECT 'column', table_name || '.' || column_name, data_type || is_nullable || coalesce(column_default, '')
  FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL
SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
  FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL
SELECT 'trigger', tgrelid::regclass || '.' || tgname, pg_get_triggerdef(oid)
  FROM pg_trigger WHERE NOT tgisinternal
UNION ALL
SELECT 'function', proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL
SELECT 'view', viewname, definition FROM pg_views WHERE schemaname = 'public'
UNION ALL
SELECT 'partition', relname, coalesce(pg_get_expr(relpartbound, oid), pg_get_partkeydef(oid))
  FROM pg_class WHERE relnamespace = 'public'::regnamespace AND (relispartition OR relkind = 'p')
UNION ALL
SELECT 'run', name, id::text FROM run
"""

_SQLITE_CATALOGUE = """
SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'
UNION ALL SELECT 'run', name, id FROM run
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "sqlite":
        engine = open_database(f"sqlite:///{tmp_path / 'empty.db'}")
        yield engine
        engine.dispose()
    else:
        with fresh_postgres(request.getfixturevalue("server")) as engine:
            yield engine


def catalogue(connection: Connection) -> set[tuple[str, str, str]]:
    """Everything the database says about its schema, in a form that does not depend on spaces or order."""
    is_sqlite = connection.dialect.name == "sqlite"
    rows = connection.execute(text(_SQLITE_CATALOGUE if is_sqlite else _POSTGRES_CATALOGUE))
    found = {(kind, name, _plain(str(body))) for kind, name, body in rows}
    return {each for each in found if "alembic_version" not in each[1]}


def _plain(sql: str) -> str:
    """SQLite keeps the text of each statement: the order of a table's constraints is not its meaning."""
    joined = " ".join(sql.split())
    if not joined.startswith("CREATE TABLE"):
        return joined
    return " ".join(sorted(re.sub(r"[(),]", " ", joined).split()))


def test_migrating_makes_the_schema_that_the_code_means(empty: Engine) -> None:
    with transaction(empty) as connection:
        create_schema(connection)
        meant = catalogue(connection)
        _drop_all(connection)
    migrate(empty)

    with reading(empty) as connection:
        made = catalogue(connection)
    assert made - meant == set()
    assert meant - made == set()
    assert len(made) > 30, "the catalogue was read"


def test_alembic_finds_nothing_to_add(empty: Engine) -> None:
    migrate(empty)
    with transaction(empty) as connection:
        check(connection)


def test_a_difference_would_be_found(empty: Engine) -> None:
    migrate(empty)
    with transaction(empty) as connection:
        connection.execute(text("ALTER TABLE batch ADD COLUMN surplus INTEGER"))
        with pytest.raises(Exception, match="surplus"):
            check(connection)


def test_migrations_can_be_taken_back_and_applied_again(empty: Engine) -> None:
    migrate(empty)
    with transaction(empty) as connection:
        first = catalogue(connection)
        downgrade(connection, "base")
        assert current_revision(connection) is None
        assert _names(connection) <= {"alembic_version"}
        upgrade(connection)
        assert current_revision(connection) == newest_revision()
        assert catalogue(connection) == first


def test_a_failed_migration_leaves_nothing(empty: Engine) -> None:
    with transaction(empty) as connection:
        connection.execute(text("CREATE VIEW verdict_now AS SELECT 1 AS one"))  # in the way of the last step
    with pytest.raises(Exception, match="verdict_now"):
        migrate(empty)

    with reading(empty) as connection:
        assert _names(connection) == {"verdict_now"}


def _names(connection: Connection) -> set[str]:
    if connection.dialect.name == "sqlite":
        found = "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"
    else:
        found = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
    return set(connection.execute(text(found)).scalars())


def _drop_all(connection: Connection) -> None:
    connection.execute(text("DROP VIEW verdict_now"))
    metadata.drop_all(connection)
    if connection.dialect.name == "postgresql":
        connection.execute(text("DROP FUNCTION refuse_change"))
