"""Golden parts on their way: into the very log that real frames come from, each time as a new event."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog

from pipelines.errors import InputRefused
from pipelines.file_kind import kind_by_name
from storage.database import database_now, reading, transaction
from storage.golden_checks import GoldenSend, begin_checks, last_sent
from storage.golden_parts import GoldenPart, list_golden_parts
from storage.locks import lock
from storage.manifest import FoundFile, append_files
from workers.folder_log import path_in_manifest
from workers.frame_producer import FrameProducer, FrameTooLarge, OutgoingFrame

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from storage.pictures import PictureStore
    from workers.folder_log import FolderLog

_log = structlog.get_logger(__name__)

OpenProducer = Callable[[str], AbstractContextManager[FrameProducer]]  # by topic


def enter_golden_parts(log: FolderLog, pictures: PictureStore) -> int:
    """Enter every golden part into the log of files once more; how many there are."""
    with transaction(log.engine) as connection:
        parts = list_golden_parts(connection)
        files = [_as_file(part, pictures) for part in parts]
        entries = append_files(connection, log.log.id, files)
        sends = []
        for part, entry in zip(parts, entries, strict=True):
            source, event_id = log.event_of(entry)
            sends.append(GoldenSend(golden_part=part.id, event_source=source, event_id=event_id))
        begin_checks(connection, sends)
    return len(parts)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GoldenSender:
    """Sends golden parts to the topics of their lines. Any number of processes may: one does, each time."""

    engine: Engine
    pictures: PictureStore
    topic_of: Callable[[str], str]  # by line; raises `InputRefused` where nobody can say
    open_producer: OpenProducer

    def send(self) -> int:
        """Send every golden part now; how many were sent.

        Raises:
            StageUnavailable: The log did not take a frame. What it did not take will be missing.
            InputRefused: No topic is known for a line, or the log will not have us; nothing was sent.
        """
        with reading(self.engine) as connection:
            parts = list_golden_parts(connection)
        return self._send(parts, lambda connection: True)

    def send_if_due(self, every: timedelta) -> int:
        """The same, if the last ones were sent so long ago by whomever; else 0."""

        def is_due(connection: Connection) -> bool:
            lock(connection, "golden parts")
            last = last_sent(connection)
            return last is None or database_now(connection) - last >= every

        with reading(self.engine) as connection:
            last, now = last_sent(connection), database_now(connection)
            if last is not None and now - last < every:
                return 0
            parts = list_golden_parts(connection)
        return self._send(parts, is_due)

    def _send(self, parts: Sequence[GoldenPart], is_due: Callable[[Connection], bool]) -> int:
        topics: dict[str, list[GoldenPart]] = {}
        for part in parts:
            topics.setdefault(self.topic_of(part.line), []).append(part)
        if not topics:
            return 0
        source = f"/triad-golden/{uuid4().hex}"
        with transaction(self.engine) as connection:
            if not is_due(connection):
                return 0
            sends = [GoldenSend(golden_part=each.id, event_source=source, event_id=each.id) for each in parts]
            begin_checks(connection, sends)
        for topic, of_topic in topics.items():
            with self.open_producer(topic) as producer:
                for part in of_topic:
                    self._send_one(part, source, producer)
                producer.finish()
        return len(parts)

    def _send_one(self, part: GoldenPart, source: str, producer: FrameProducer) -> None:
        kind = kind_by_name(part.name)
        known: dict[str, object] = {
            "id": part.id,
            "source": source,
            "product": part.product,
            "is_simulated": True,
            "golden_part": part.id,
        }
        if kind is not None:
            known["content_type"] = kind.value
        try:
            payload = self.pictures.get(part.picture_uri)
            producer.send(OutgoingFrame(name=part.name, line=part.line, payload=payload, known=known))
        except (FileNotFoundError, FrameTooLarge) as error:  # it will be missing, and alarmed as that
            _log.error("golden part not sent", golden_part=part.id, error=str(error))


def topic_for(line_site: Callable[[str], str], topics: Sequence[str]) -> Callable[[str], str]:
    """The topic of a line: the only one there is, or ``frames.`` and the line's site.

    The function raises ``InputRefused`` where that is none of ``topics``.
    """

    def topic_of(line: str) -> str:
        if len(topics) == 1:
            return topics[0]
        wanted = f"frames.{line_site(line)}"
        if wanted not in topics:
            raise InputRefused(
                f"line {line!r}: topic {wanted} is not among TRIAD_FRAMES_TOPICS ({', '.join(topics)}): "
                "declare the line with its site, see docs/lines.md"
            )
        return wanted

    return topic_of


def _as_file(part: GoldenPart, pictures: PictureStore) -> FoundFile:
    file = pictures.path(part.picture_uri)
    size = file.stat().st_size if file.exists() else 0  # gone: reading it will say LOST
    return FoundFile(
        path=path_in_manifest(file),
        sha256=part.sha256,
        size=size,
        mtime_ns=time.time_ns(),
        product=part.product,
        golden_part=part.id,
    )
