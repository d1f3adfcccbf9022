"""Verdicts by day: on Postgres each day of ``planned_at`` is a partition, so that old days go as a whole."""

import re
from datetime import UTC, date, datetime, time, timedelta

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError, OperationalError

from storage.database import database_now
from storage.locks import try_lock

_log = structlog.get_logger(__name__)

# Attaching a day waits for transactions that have read the default partition. Whoever comes next waits behind
# it, so it gives up soon; there are days of time to try again.
_MOST_WAIT_MS = 500
_MOST_WAIT_TO_DROP_MS = 5000

_NAME = re.compile(r"verdict_(\d{4})(\d\d)(\d\d)")

_CHILDREN = text(
    "SELECT child.relname FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid "
    "WHERE inhparent = 'verdict'::regclass"
)


def ensure_partitions(connection: Connection, *, days_ahead: int = 3) -> tuple[date, ...]:
    """Make the partitions of today and of ``days_ahead`` days (UTC) where they are missing; the new ones.

    In a transaction of its own. A day that cannot have its partition now (verdicts of it lie in the default
    partition already, or somebody reads there) is left out and logged: its verdicts are kept all the same,
    and only retention takes longer. Does nothing on SQLite, or while another process is at it.
    """
    if connection.dialect.name != "postgresql" or not try_lock(connection, "verdict partitions"):
        return ()
    known = days(connection)
    today = database_now(connection).date()
    wanted = (today + timedelta(days=ahead) for ahead in range(days_ahead + 1))
    return tuple(day for day in wanted if day not in known and _add(connection, day))


def days(connection: Connection) -> frozenset[date]:
    """The days that have a partition of their own; none on SQLite."""
    if connection.dialect.name != "postgresql":
        return frozenset()
    names = (_NAME.fullmatch(name) for name in connection.execute(_CHILDREN).scalars())
    return frozenset(date(*map(int, match.groups())) for match in names if match)


def drop_day(connection: Connection, day: date) -> None:
    """Remove a day's partition with all its verdicts; no amendment and no review may refer to one."""
    name = _name_of(day)
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_MOST_WAIT_TO_DROP_MS}")
    connection.exec_driver_sql(f"ALTER TABLE verdict DETACH PARTITION {name}")  # or it could not be dropped
    connection.exec_driver_sql(f"DROP TABLE {name}")


def midnight(day: date) -> datetime:
    """Where the day begins, in UTC."""
    return datetime.combine(day, time(), tzinfo=UTC)


def _add(connection: Connection, day: date) -> bool:
    name, first, end = _name_of(day), midnight(day), midnight(day + timedelta(days=1))
    statements = (
        f"SET LOCAL lock_timeout = {_MOST_WAIT_MS}",
        # First, while nothing is held that a worker might wait for: the others are held for a moment only.
        "LOCK TABLE verdict_default IN ACCESS EXCLUSIVE MODE",
        f"CREATE TABLE {name} (LIKE verdict INCLUDING DEFAULTS INCLUDING CONSTRAINTS)",
        # Not PARTITION OF in the statement above: that would keep everybody from the whole table.
        f"ALTER TABLE verdict ATTACH PARTITION {name} FOR VALUES FROM ('{first}') TO ('{end}')",
        "SET LOCAL lock_timeout = DEFAULT",
    )
    try:
        with connection.begin_nested():
            for statement in statements:
                connection.exec_driver_sql(statement)
    except IntegrityError:
        _log.warning("no partition for a day: verdicts of it are in the default one", day=day.isoformat())
        return False
    except OperationalError as error:
        if connection.invalidated:
            raise
        _log.warning("no partition for a day yet", day=day.isoformat(), error=str(error.orig).strip())
        return False
    return True


def _name_of(day: date) -> str:
    return f"verdict_{day:%Y%m%d}"
