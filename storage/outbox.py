"""What must be told to the outside, written with the fact itself and published in order per line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, insert, select, update

from storage.columns import clock
from storage.database import database_now
from storage.locks import try_lock
from storage.schema import outbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message; ``kind`` names its schema, such as ``verdict`` or ``amendment``."""

    id: int
    line: str
    kind: str
    body: Mapping[str, object]
    created_at: datetime


def add(connection: Connection, messages: Sequence[tuple[str, str, Mapping[str, object]]]) -> None:
    """Queue (line, kind, body) messages, in order, in the transaction that writes what they tell."""
    if not messages:
        return
    now = database_now(connection)
    rows = [{"line": line, "kind": kind, "body": body, "created_at": now} for line, kind, body in messages]
    connection.execute(insert(outbox), rows)


def waiting_lines(connection: Connection) -> tuple[str, ...]:
    """Lines with something to publish, the longest waiting first."""
    found = (
        select(outbox.c.line)
        .where(outbox.c.published_at.is_(None))
        .group_by(outbox.c.line)
        .order_by(func.min(outbox.c.id))
    )
    return tuple(connection.execute(found).scalars())


def unpublished_count(connection: Connection, *, at_most: int | None = None) -> int:
    """How many messages wait to be published; counting stops at ``at_most``, so that it stays cheap."""
    waiting = select(outbox.c.id).where(outbox.c.published_at.is_(None)).limit(at_most).subquery()
    return int(connection.execute(select(func.count()).select_from(waiting)).scalar_one())


def unpublished(connection: Connection, line: str, *, limit: int = 500) -> tuple[Message, ...]:
    """A line's oldest messages, under its lock until the transaction ends; empty while another publishes it.

    Publish them in this order, then ``mark_published`` in the same transaction. A crash between the two
    publishes them again: readers must tell repeats by the message's id.
    """
    if not try_lock(connection, f"outbox {line}"):
        return ()
    columns = [outbox.c[each.name] for each in fields(Message)]
    found = (
        select(*columns)
        .where(outbox.c.line == line, outbox.c.published_at.is_(None))
        .order_by(outbox.c.id)
        .limit(limit)
    )
    return tuple(Message(**row._asdict()) for row in connection.execute(found))


def mark_published(connection: Connection, messages: Sequence[Message]) -> None:
    """They are out. Marking twice changes nothing."""
    ids = [message.id for message in messages]
    marked = update(outbox).where(outbox.c.id.in_(ids), outbox.c.published_at.is_(None))
    connection.execute(marked.values(published_at=clock()))


def forget_published(connection: Connection, *, older_than: timedelta) -> int:
    """Delete messages published longer ago than this; how many."""
    old = delete(outbox).where(outbox.c.published_at < clock(-older_than))
    return connection.execute(old).rowcount
