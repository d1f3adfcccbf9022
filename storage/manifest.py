"""A folder as a log: every version of a file gets the next offset, once, for ever."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, bindparam, func, insert, select, update

from storage.database import database_now
from storage.locks import lock
from storage.schema import manifest_entry


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """A file as it lies there now; ``path`` is relative to the folder, with ``/``."""

    path: str
    sha256: str
    size: int  # bytes
    mtime_ns: int
    product: str | None = None
    golden_part: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestEntry:
    """One version of one file; ``vanished_at`` is when we saw it gone."""

    offset: int
    path: str
    sha256: str
    size: int
    mtime_ns: int
    product: str | None
    vanished_at: datetime | None
    golden_part: str | None = None


def append_files(
    connection: Connection, log_id: int, files: Sequence[FoundFile]
) -> tuple[ManifestEntry, ...]:
    """Give each file the next offset, in the order given. The caller leaves out unchanged ones."""
    if not files:
        return ()
    lock(connection, f"manifest {log_id}")
    first = end_offset(connection, log_id)
    entries = tuple(
        ManifestEntry(offset=offset, vanished_at=None, **asdict(file))
        for offset, file in enumerate(files, first)
    )
    connection.execute(insert(manifest_entry), [asdict(entry) | {"log_id": log_id} for entry in entries])
    return entries


def newest_entries(connection: Connection, log_id: int) -> dict[str, ManifestEntry]:
    """The newest version of each path, also of vanished files."""
    mine = _at(log_id)
    own = manifest_entry.c.golden_part.is_(None)  # a golden part is sent again and again, and not found
    newest = select(func.max(manifest_entry.c.offset)).where(mine, own).group_by(manifest_entry.c.path)
    found = select(*_COLUMNS).where(mine, manifest_entry.c.offset.in_(newest))
    return {row.path: ManifestEntry(**row._asdict()) for row in connection.execute(found)}


def read_entries(connection: Connection, log_id: int, *, first: int, end: int) -> tuple[ManifestEntry, ...]:
    """Entries with ``first <= offset < end``, ascending."""
    found = (
        select(*_COLUMNS)
        .where(_at(log_id), manifest_entry.c.offset >= first, manifest_entry.c.offset < end)
        .order_by(manifest_entry.c.offset)
    )
    return tuple(ManifestEntry(**row._asdict()) for row in connection.execute(found))


def touch_entry(connection: Connection, log_id: int, offset: int, *, mtime_ns: int) -> None:
    """The same bytes have a new modification time: remember it, so that they need not be hashed again."""
    touched = update(manifest_entry).where(_at(log_id), manifest_entry.c.offset == offset)
    connection.execute(touched.values(mtime_ns=mtime_ns))


def mark_vanished(connection: Connection, log_id: int, offsets: Collection[int]) -> None:
    """These files are gone; the first time stands. A file that comes back is a new offset."""
    gone = (_at(log_id), manifest_entry.c.offset == bindparam("gone"), manifest_entry.c.vanished_at.is_(None))
    marked = update(manifest_entry).where(*gone).values(vanished_at=database_now(connection))
    if offsets:
        connection.execute(marked, [{"gone": offset} for offset in offsets])


def end_offset(connection: Connection, log_id: int) -> int:
    """One past the last offset given; 0 for an empty log."""
    last = connection.execute(select(func.max(manifest_entry.c.offset)).where(_at(log_id))).scalar_one()
    return 0 if last is None else int(last) + 1


_COLUMNS = [manifest_entry.c[each.name] for each in fields(ManifestEntry)]


def _at(log_id: int) -> ColumnElement[bool]:
    return manifest_entry.c.log_id == log_id
