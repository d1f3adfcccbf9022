"""The migrations, from nothing, make exactly the schema that the code means; and they can be taken back."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, text

from storage.audit import audit
from storage.batches import BatchKind, claim_next
from storage.database import migrate, open_database, reading, transaction
from storage.ddl import create_schema
from storage.migrating import check, current_revision, downgrade, newest_revision, upgrade
from storage.partitions import ensure_partitions
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


@pytest.fixture
def at_0001(empty: Engine) -> Engine:
    """A ledger of the first schema, with a range that waits, a verdict, and a dead letter."""
    with transaction(empty) as connection:
        upgrade(connection, "0001")
        for statement in _DATA_OF_0001:
            connection.execute(text(statement), {"at": _AT[connection.dialect.name]})
    return empty


_AT = {"postgresql": "2026-01-02 03:04:05+00", "sqlite": "2026-01-02 03:04:05.000000"}
_DATA_OF_0001 = (
    "INSERT INTO recipe (hash, product, body, created_at) VALUES ('r', 'tile', '{}', :at)",
    "INSERT INTO recipe_set (id, hash, body, created_at) VALUES (1, 's', '{}', :at)",
    "INSERT INTO log (id, kind, name, uuid, epoch, created_at) VALUES (1, 'kafka', 'n', 'u', 0, :at)",
    'INSERT INTO plan_cursor (run_id, log_id, "partition", first_offset, next_offset) VALUES (0, 1, 0, 0, 3)',
    """INSERT INTO batch (id, run_id, log_id, "partition", first_offset, end_offset, kind, state, fence,
        attempts, planned_at, recipe_set_id) VALUES (1, 0, 1, 0, 0, 2, 'inspect', 'done', 1, 1, :at, 1)""",
    """INSERT INTO batch (id, run_id, log_id, "partition", first_offset, end_offset, kind, state, fence,
        attempts, planned_at, recipe_set_id) VALUES (2, 0, 1, 0, 2, 3, 'inspect', 'planned', 0, 0, :at, 1)""",
    """INSERT INTO verdict (planned_at, batch_id, run_id, log_id, "partition", "offset", line, product,
        event_source, event_id, is_repeat, decided_at, sha256, outcome, score, p_value, regions, recipe,
        fence) VALUES (:at, 1, 0, 1, 0, 0, 'l', 'tile', 's', 'e', false, :at, '0', 'pass', 0.1, 0.5, '[]',
        'r', 1)""",
    """INSERT INTO dead_letter (batch_id, run_id, log_id, "partition", "offset", reason, detail, created_at)
        VALUES (1, 0, 1, 0, 1, 'empty', '', :at)""",
)


def test_a_ledger_of_the_first_schema_goes_on_with_all_it_holds(at_0001: Engine) -> None:
    migrate(at_0001)

    with reading(at_0001) as connection:
        (found,) = audit(connection)
        assert (found.verdict, found.dead_letter, found.pending, found.is_clean) == (1, 1, 1, True)
    with transaction(at_0001) as connection:
        claim = claim_next(connection, kind=BatchKind.INSPECT, owner="w", lease=timedelta(minutes=1))
        assert claim is not None
        assert (claim.batch_id, claim.priority) == (2, 0)


def test_a_planner_of_the_version_before_goes_on_during_the_upgrade(at_0001: Engine) -> None:
    """It knows no priority: the schema gives one."""
    migrate(at_0001)

    with transaction(at_0001) as connection:
        connection.execute(text("UPDATE batch SET state = 'done' WHERE id = 2"))
        again = _DATA_OF_0001[5].replace("VALUES (2, 0, 1, 0, 2, 3,", "VALUES (3, 0, 1, 0, 3, 4,")
        connection.execute(text(again), {"at": _AT[connection.dialect.name]})
        claim = claim_next(connection, kind=BatchKind.INSPECT, owner="w", lease=timedelta(minutes=1))
    assert claim is not None
    assert (claim.batch_id, claim.priority) == (3, 0)


def test_a_worker_of_the_version_before_writes_production_and_no_golden_part(at_0001: Engine) -> None:
    """It knows neither column: what it writes, and what is there, is as it always was."""
    migrate(at_0001)

    with transaction(at_0001) as connection:
        again = (
            _DATA_OF_0001[6].replace("(:at, 1, 0, 1, 0, 0, ", "(:at, 1, 0, 1, 0, 1, ").replace("'e'", "'f'")
        )
        connection.execute(text(again), {"at": _AT[connection.dialect.name]})
        found = connection.execute(text("SELECT is_simulated, golden_part FROM verdict_now")).all()
    assert [(bool(row.is_simulated), row.golden_part) for row in found] == [(False, None)] * 2


def test_going_back_to_the_first_schema_keeps_what_it_knew(at_0001: Engine) -> None:
    with reading(at_0001) as connection:
        before = catalogue(connection)
    migrate(at_0001)
    with transaction(at_0001) as connection:
        connection.execute(text("UPDATE batch SET priority = 7 WHERE id = 2"))
        downgrade(connection, "0001")

    with reading(at_0001) as connection:
        assert catalogue(connection) == before
        assert connection.execute(text("SELECT count(*) FROM batch")).scalar_one() == 2
        assert connection.execute(text("SELECT count(*) FROM verdict")).scalar_one() == 1
    with pytest.raises(Exception, match="overlap"), transaction(at_0001) as connection:
        connection.execute(text("UPDATE batch SET end_offset = 3 WHERE id = 1"))


def test_days_of_verdicts_are_no_difference_and_go_with_the_schema(empty: Engine) -> None:
    migrate(empty)
    with transaction(empty) as connection:
        ensure_partitions(connection)
    with transaction(empty) as connection:
        check(connection)
        downgrade(connection, "base")
        assert _names(connection) <= {"alembic_version"}


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
