"""Logs and runs: what an offset belongs to. A recreated topic is another log, never a repeat."""

from dataclasses import dataclass, fields

from sqlalchemy import Connection, insert, select

from storage.database import database_now
from storage.schema import LogKind, run
from storage.schema import log as log_table
from storage.upsert import insert_new


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """One log's identity: the topic's UUID (a folder's is ours), plus an epoch of ours."""

    id: int
    kind: LogKind
    name: str
    uuid: str
    epoch: int


def open_log(connection: Connection, *, kind: LogKind, name: str, uuid: str) -> Log:
    """The log of this identity in its newest epoch; new ones begin at epoch 0. Idempotent."""
    known = _newest(connection, kind, name, uuid)
    return known or _add(connection, kind, name, uuid, epoch=0)


def next_epoch(connection: Connection, log: Log) -> Log:
    """Offsets start again under the same uuid (truncated, restored): from now on it is another log.

    Idempotent for one ``log``: two that notice the same thing get the same new epoch.
    """
    return _add(connection, log.kind, log.name, log.uuid, epoch=log.epoch + 1)


def newest_epoch(connection: Connection, log: Log) -> Log:
    """The same topic's log as it is now: another one once offsets have started again."""
    newest = _newest(connection, log.kind, log.name, log.uuid)
    assert newest is not None, f"log {log.id} was opened"
    return newest


def get_log(connection: Connection, log_id: int) -> Log | None:
    """The log of this id, or None."""
    row = connection.execute(select(*_COLUMNS).where(log_table.c.id == log_id)).one_or_none()
    return None if row is None else Log(**row._asdict())


def newest_log(connection: Connection, *, kind: LogKind, name: str) -> Log | None:
    """What the log of this name is now: the one that was opened last."""
    same = (log_table.c.kind == kind, log_table.c.name == name)
    found = select(*_COLUMNS).where(*same).order_by(log_table.c.id.desc()).limit(1)
    row = connection.execute(found).one_or_none()
    return None if row is None else Log(**row._asdict())


def list_logs(connection: Connection) -> tuple[Log, ...]:
    """Every log there ever was, in the order they were opened."""
    return tuple(
        Log(**row._asdict()) for row in connection.execute(select(*_COLUMNS).order_by(log_table.c.id))
    )


def start_run(connection: Connection, *, name: str) -> int:
    """A new replay's id; the live run is 0 and always there."""
    added = insert(run).values(name=name, created_at=database_now(connection)).returning(run.c.id)
    return int(connection.execute(added).scalar_one())


_COLUMNS = [log_table.c[each.name] for each in fields(Log)]


def _newest(connection: Connection, kind: LogKind, name: str, uuid: str) -> Log | None:
    same = (log_table.c.kind == kind, log_table.c.name == name, log_table.c.uuid == uuid)
    found = select(*_COLUMNS).where(*same).order_by(log_table.c.epoch.desc()).limit(1)
    row = connection.execute(found).one_or_none()
    return None if row is None else Log(**row._asdict())


def _add(connection: Connection, kind: LogKind, name: str, uuid: str, *, epoch: int) -> Log:
    key = {"kind": kind, "name": name, "uuid": uuid, "epoch": epoch}
    insert_new(connection, log_table, key | {"created_at": database_now(connection)})
    same = [log_table.c[column] == value for column, value in key.items()]
    return Log(**connection.execute(select(*_COLUMNS).where(*same)).one()._asdict())
