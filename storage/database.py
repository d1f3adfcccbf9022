"""One way in: an engine for SQLite or Postgres, its migrations, its transactions and its clock."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from pipelines.errors import InputRefused, StageUnavailable
from storage.columns import clock
from storage.migrating import current_revision, newest_revision, upgrade

BUSY_TIMEOUT_S = 30  # how long a SQLite writer waits for the one before it
_SQL_ITSELF_IS_WRONG = 1  # SQLITE_ERROR: no such table, bad syntax; every other code is about the file


def open_database(url: str, *, idle_limit_s: float = 0.0) -> Engine:
    """An engine over ``sqlite:///FILE`` or ``postgresql://…``; nothing is connected yet.

    Its threads each hold their own connection while in a transaction. It must not be inherited over a fork.
    PostgreSQL ends a transaction that asks nothing for ``idle_limit_s`` (0: never), and its locks with it: a
    process that was stopped, or whose machine is gone, would hold them for ever, and no lease runs out on a
    claim that was never committed.

    Raises:
        InputRefused: The URL is malformed, names another database, or keeps SQLite in memory
            (each thread would see a database of its own).
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InputRefused("database URL: write sqlite:///FILE or postgresql://USER@HOST/NAME") from error
    match parsed.get_backend_name():
        case "sqlite" if parsed.database and parsed.database != ":memory:":
            return _open_sqlite(url)
        case "sqlite":
            raise InputRefused("database URL: SQLite needs a file, as in sqlite:////var/lib/triad/triad.db")
        case "postgresql" | "postgres":
            return _open_postgres(parsed, idle_limit_s)
    raise InputRefused(
        f"database URL: {parsed.get_backend_name()} is not supported; use SQLite or PostgreSQL"
    )


def _open_postgres(url: URL, idle_limit_s: float) -> Engine:
    url = url.set(drivername="postgresql+psycopg")
    engine = create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=20)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        # A plan made while a table was empty would be kept, and read the whole table ever after: looking for
        # repeated events went from 0.2 ms to 17 ms within 10,000 verdicts.
        connection.autocommit = True
        connection.execute("SET plan_cache_mode = force_custom_plan")
        connection.execute(f"SET idle_in_transaction_session_timeout = {int(idle_limit_s * 1000)}")
        connection.autocommit = False

    return engine


def _open_sqlite(url: str) -> Engine:
    try:
        engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, pool_size=10, max_overflow=20)
    except NoSuchModuleError as error:
        raise InputRefused("database URL: write sqlite:///FILE") from error

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver's own BEGIN comes too late and is never IMMEDIATE
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A deferred transaction that reads first and writes later fails as busy without waiting.
        is_reading = connection.get_execution_options().get("is_reading", False)
        connection.exec_driver_sql("BEGIN" if is_reading else "BEGIN IMMEDIATE")

    return engine


def migrate(engine: Engine) -> None:
    """Bring the schema to the newest revision; does nothing when it is there. Many processes may call it.

    Raises:
        StageUnavailable: The database does not answer.
        InputRefused: The schema was written by a newer Triadline.
    """
    with reading(engine) as connection:
        if current_revision(connection) == newest_revision():
            return
    with transaction(engine) as connection:
        upgrade(connection)


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes: committed at the end, rolled back on any exception.

    Raises:
        StageUnavailable: The database is away, locked for too long, full or failing over. Whether a commit
            took effect is then unknown: ask ``claims.was_finished`` before doing the work again.
    """
    with _translated(), engine.begin() as connection:
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads and sees one state throughout; on SQLite it holds up no writer.

    Raises:
        StageUnavailable: The database does not answer.
    """
    options: dict[str, Any] = {"is_reading": True}
    if engine.dialect.name == "postgresql":
        options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with _translated(), engine.connect() as connection:
        yield connection.execution_options(**options)


def database_now(connection: Connection) -> datetime:
    """The one clock for leases and ``planned_at``: aware, UTC; ticks in milliseconds on SQLite."""
    return connection.execute(select(clock())).scalar_one()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except PoolTimeoutError as error:
        raise StageUnavailable(f"database: no free connection: {error}") from error
    except DBAPIError as error:
        if is_outage(error):
            raise StageUnavailable(f"database: {' '.join(str(error.orig).split())}") from error
        raise


def is_outage(error: DBAPIError) -> bool:
    """True when the database failed us and the same statement may pass later; False when we are wrong."""
    if error.connection_invalidated or isinstance(error, InterfaceError):
        return True
    code = getattr(error.orig, "sqlite_errorcode", 0)
    return isinstance(error, OperationalError) and code & 0xFF != _SQL_ITSELF_IS_WRONG
