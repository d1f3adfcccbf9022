"""The topics of frames that this installation reads, each under the ledger's id of its present identity."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from pipelines.errors import InputRefused, StageUnavailable
from pipelines.frame import Line
from storage.database import reading, transaction
from storage.logs import Log, get_log, newest_epoch, next_epoch, open_log
from storage.schema import LogKind
from workers.frame_log import FrameLog, LogIdentity
from workers.gone_log import GoneLog
from workers.kafka_log import KafkaLog, open_kafka_log
from workers.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

_log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True, eq=False)
class KafkaLogs:
    """Opened when first needed and kept; any thread may ask.

    A topic that was deleted and made again is another log, under another id. Ranges of the old one are
    still in the ledger, and come out as LOST.
    """

    engine: Engine
    settings: Settings
    line: Callable[[str], Line]
    on_open: Callable[[int, str], None] = lambda log_id, topic: None
    _open: dict[str, tuple[Log, KafkaLog]] = field(default_factory=dict)  # by topic
    _gone: list[int] = field(default_factory=list)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def topics(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.settings.frames_topics.split(",") if name.strip())

    def live(self) -> Mapping[int, KafkaLog]:
        """The logs to plan, by the ledger's id: what each topic is at this moment.

        Topics that do not answer, or are not there yet, are left out, and named in the log.
        """
        found: dict[int, KafkaLog] = {}
        for topic in self.topics:
            try:
                log, opened = self._present(topic)
            except StageUnavailable as outage:
                _log.warning("topic is not planned", topic=topic, error=str(outage))
                continue
            found[log.id] = opened
        if not found:
            raise StageUnavailable(f"no topic of frames answers: {', '.join(self.topics)}")
        return found

    def names(self) -> dict[int, str]:
        """The topics that were opened, by the ledger's id."""
        with self._lock:
            return {log.id: topic for topic, (log, _) in self._open.items()}

    def gone(self) -> tuple[int, ...]:
        """The logs, by the ledger's id, that their topics no longer are; until each is forgotten."""
        with self._lock:
            return tuple(self._gone)

    def forget(self, log_id: int) -> None:
        """What was seen of a log that is gone is accounted for."""
        with self._lock:
            self._gone.remove(log_id)

    def log(self, log_id: int) -> FrameLog:
        """The log of this id, for reading a range of it.

        Raises:
            StageUnavailable: Kafka does not answer, or this process was not told of the topic.
        """
        with reading(self.engine) as connection:
            log = get_log(connection, log_id)
        if log is None or log.kind is not LogKind.KAFKA or log.name not in self.topics:
            named = f"log {log_id}" if log is None else f"{log.kind.value} {log.name}"
            raise StageUnavailable(f"{named} is not read here: see TRIAD_FRAMES_TOPICS")
        self.on_open(log.id, log.name)
        # By what the topic is, never by which log was opened last: whoever looked at a topic while it was
        # made again may have opened one that is no more.
        present, opened = self._present(log.name)
        return opened if present.id == log.id else GoneLog(identity=LogIdentity(id=log.uuid, epoch=log.epoch))

    def cut_back(self, log_id: int) -> None:
        """The log ends before what was planned of it: from now on it is another, in its next epoch.

        A topic that was made again between the planner's questions ends early too, and is no such log.

        Raises:
            StageUnavailable: Kafka or the database does not answer; nothing has changed.
        """
        with self._lock:
            known = next((each for each in self._open.values() if each[0].id == log_id), None)
            if known is None or self._uuid(known[1]) != known[0].uuid:
                return
            with transaction(self.engine) as connection:
                newer = next_epoch(connection, known[0])
            _log.error("log was cut back, its next epoch begins", topic=newer.name, epoch=newer.epoch)

    def close(self) -> None:
        with self._lock:
            for topic in tuple(self._open):
                self._close(topic)

    def _present(self, topic: str) -> tuple[Log, KafkaLog]:
        with self._lock:
            known = self._open.get(topic)
            if known is not None:
                if self._is_present(*known):
                    return known
                _log.error("topic is another log now, its old frames are lost", topic=topic, log=known[0].id)
                self._gone.append(known[0].id)
            self._close(topic)
            try:
                opened = open_kafka_log(self.settings, topic, lines=self.line)
            except InputRefused as refusal:  # a right taken away must not cost a range an attempt
                raise StageUnavailable(str(refusal)) from refusal
            with transaction(self.engine) as connection:
                log = open_log(connection, kind=LogKind.KAFKA, name=topic, uuid=opened.identity.id)
            opened.identity = LogIdentity(id=log.uuid, epoch=log.epoch)
            self._open[topic] = log, opened
            self.on_open(log.id, topic)
            return self._open[topic]

    def _is_present(self, log: Log, opened: KafkaLog) -> bool:
        """Whether the topic is still this log: neither made again nor cut back, whoever noticed that."""
        if self._uuid(opened) != log.uuid:
            return False
        with reading(self.engine) as connection:
            return newest_epoch(connection, log) == log

    def _uuid(self, log: KafkaLog) -> str:
        try:
            return log.topic.uuid()
        except InputRefused as refusal:
            raise StageUnavailable(str(refusal)) from refusal

    def _close(self, topic: str) -> None:
        closed = self._open.pop(topic, None)
        if closed is not None:
            closed[1].close()
