"""Files as a log: the manifest gives every version of a file an offset, once, for ever."""

from __future__ import annotations

import errno
import hashlib
import socket
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from pipelines.errors import FrameRejected, RejectReason, StageUnavailable
from pipelines.frame import Envelope, Geometry
from storage.database import reading, transaction
from storage.logs import Log, open_log
from storage.manifest import ManifestEntry, end_offset, read_entries
from storage.schema import LogKind
from workers.frame_log import LogIdentity, RangeRead, Record, absences

if TYPE_CHECKING:
    from sqlalchemy import Engine

PARTITION = 0  # a folder has one

# Of the machine, not of the file: the same file may be readable in a moment.
_OUTAGES = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, errno.ENETDOWN, errno.EHOSTDOWN}
)
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FolderLog:
    """A `FrameLog` over the files that `manifest_scan.scan` entered.

    A file that is gone, or holds other bytes than when it was entered, is LOST: the frame of that offset no
    longer exists. One that is there and may not be read is a frame nobody can decode: a dead letter.
    """

    engine: Engine
    log: Log
    largest_bytes: int = Geometry().max_bytes

    @property
    def identity(self) -> LogIdentity:
        return LogIdentity(id=self.log.uuid, epoch=self.log.epoch)

    def partitions(self) -> Sequence[int]:
        return (PARTITION,)

    def start_offset(self, partition: int) -> int:
        return 0  # a manifest only grows

    def end_offset(self, partition: int) -> int:
        with reading(self.engine) as connection:
            return end_offset(connection, self.log.id)

    def offsets(self, partitions: Sequence[int]) -> dict[int, tuple[int, int]]:
        return {each: (self.start_offset(each), self.end_offset(each)) for each in partitions}

    def expiring_before(self, partition: int, within: timedelta) -> int:
        return 0  # files stay until somebody removes them

    def read(self, partition: int, first: int, end: int, *, most_bytes: int) -> RangeRead:
        with reading(self.engine) as connection:
            entries = read_entries(connection, self.log.id, first=first, end=end)
        records: list[Record] = []
        lost: list[int] = []
        position, read_bytes = first, 0
        for entry in entries:
            if position > first and read_bytes + entry.size > most_bytes:
                break
            record = self._record(entry)
            if record is None:
                lost.append(entry.offset)
            else:
                records.append(record)
                read_bytes += len(record.payload or b"")
            position = entry.offset + 1
        else:
            position = end
        missing = absences(
            first=first,
            position=position,
            log_start=0,
            present=(record.offset for record in records),
            lost=lost,
        )
        return RangeRead(first=first, position=position, records=tuple(records), absences=missing)

    def _record(self, entry: ManifestEntry) -> Record | None:
        """The entry's frame; ``None`` when its bytes are gone."""
        file = file_of(entry.path)
        try:
            payload = None if entry.size > self.largest_bytes else file.read_bytes()
        except OSError as error:
            if error.errno in _GONE:
                return None
            if error.errno in _OUTAGES:
                raise StageUnavailable(f"{file}: {error.strerror}") from error
            return self._rejected(entry, file, RejectReason.UNREADABLE, f"{file}: {error.strerror}")
        if payload is None:
            detail = f"{entry.size} bytes; at most {self.largest_bytes} are read"
            return self._rejected(entry, file, RejectReason.TOO_LARGE, detail)
        if entry.sha256 and hashlib.sha256(payload).hexdigest() != entry.sha256:
            return None
        return self._record_of(entry, file, payload=payload)

    def _record_of(
        self,
        entry: ManifestEntry,
        file: Path,
        *,
        payload: bytes | None,
        rejection: FrameRejected | None = None,
    ) -> Record:
        line = entry.product or "files"  # files have no line of their own: each product is one
        source, event_id = self.event_of(entry)
        envelope = Envelope(
            id=event_id,
            source=source,
            line=line,
            recorded_at=datetime.fromtimestamp(entry.mtime_ns / 1e9, tz=UTC),
            is_simulated=entry.golden_part is not None,
            golden_part=entry.golden_part,
        )  # no sha256: the digest we took ourselves says nothing about what the camera sent
        return Record(
            offset=entry.offset,
            name=str(file),
            key=line,
            envelope=envelope,
            payload=payload,
            product=entry.product,
            rejection=rejection,
        )

    def event_of(self, entry: ManifestEntry) -> tuple[str, str]:
        """Source and id of an entry's event: a golden part is another event each time that it is sent."""
        if entry.golden_part is not None:
            return f"/triad-golden/{self.log.uuid}", str(entry.offset)
        return file_of(entry.path).as_uri(), entry.sha256 or f"unreadable-{entry.offset}"

    def _rejected(self, entry: ManifestEntry, file: Path, reason: RejectReason, detail: str) -> Record:
        return self._record_of(entry, file, payload=None, rejection=FrameRejected(reason, detail))


def open_folder_log(engine: Engine) -> FolderLog:
    """This machine's log of files; there is one, wherever files lie."""
    # A SQLite file is one machine's. Several machines may share a Postgres, and their paths differ.
    host = "" if engine.dialect.name == "sqlite" else socket.gethostname()
    identity = uuid.uuid5(uuid.NAMESPACE_URL, f"triadline:files:{host}")
    with transaction(engine) as connection:
        log = open_log(connection, kind=LogKind.FOLDER, name="files", uuid=str(identity))
    return FolderLog(engine=engine, log=log)


def path_in_manifest(file: Path) -> str:
    """The file's name as a database can keep it: what is no UTF-8 becomes a URI, which loses nothing."""
    try:
        str(file).encode("utf-8")
    except UnicodeEncodeError:
        return file.as_uri()
    return str(file)


def file_of(path: str) -> Path:
    """What ``path_in_manifest`` wrote down."""
    if not path.startswith("file://"):
        return Path(path)
    return Path(unquote_to_bytes(path.removeprefix("file://")).decode("utf-8", "surrogateescape"))


def in_pieces(entries: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    """Slices of at most ``size``."""
    for start in range(0, len(entries), size):
        yield entries[start : start + size]
