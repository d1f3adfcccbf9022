"""What a Kafka cluster says of one topic: which one it is, its partitions, offsets and retention."""

import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

import structlog

from pipelines.errors import StageUnavailable
from workers.kafka_clients import KafkaClients

_log = structlog.get_logger(__name__)

Answer = TypeVar("Answer")


@dataclass(slots=True, kw_only=True, eq=False)
class KafkaTopic:
    """Every question is asked anew; safe for threads, which are answered one after another.

    All raise `StageUnavailable` when no broker answers or the topic is not there, and `InputRefused` when
    the broker will not have us. The client is made at the first question and again after a failed one.
    """

    clients: KafkaClients
    name: str
    _admin: Any = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def uuid(self) -> str:
        """The topic's own; it changes when the topic is deleted and made again under this name."""
        given = self._described().get("topic_id")
        if given and uuid.UUID(str(given)).int:
            return str(given)
        # Brokers before 2.8 give none, and then nobody can tell a topic that was made again from the first.
        _log.warning("this broker gives topics no ids: never delete and remake this one", topic=self.name)
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"kafka:{self.name}"))

    def partitions(self) -> tuple[int, ...]:
        """Ascending; whether or not they have a leader now."""
        return tuple(sorted(each["partition_index"] for each in self._described()["partitions"]))

    def start(self, partition: int) -> int:
        """The log start: the first offset still held."""
        return self._offset(partition, "EARLIEST", is_committed=True)

    def stable_end(self, partition: int) -> int:
        """The end, or the first offset of the oldest transaction that is still open."""
        return self._offset(partition, "LATEST", is_committed=True)

    def starts(self, partitions: Sequence[int]) -> dict[int, int]:
        """As ``start``, of all these in one request."""
        return self._offsets(partitions, "EARLIEST", is_committed=True)

    def stable_ends(self, partitions: Sequence[int]) -> dict[int, int]:
        """As ``stable_end``, of all these in one request."""
        return self._offsets(partitions, "LATEST", is_committed=True)

    def end(self, partition: int) -> int:
        """The end, open transactions included (the high watermark)."""
        return self._offset(partition, "LATEST", is_committed=False)

    def first_since(self, partition: int, when: datetime) -> int | None:
        """The first offset whose timestamp is ``when`` or later; ``None`` when there is none."""
        found = self._offset(partition, max(0, int(when.timestamp() * 1000)), is_committed=False)
        return None if found < 0 else found

    def retention(self) -> timedelta | None:
        """How long records are kept; ``None`` when age removes nothing."""
        from kafka.admin import ConfigResource

        asked = ConfigResource("topic", self.name, configs=["cleanup.policy", "retention.ms"])
        found = self._ask(
            "reading its configuration", lambda admin: admin.describe_configs([asked], config_filter="all")
        )
        configs = found["topic"][self.name]
        kept_ms = int(configs["retention.ms"]["value"])
        if kept_ms < 0 or "delete" not in configs["cleanup.policy"]["value"]:
            return None
        return timedelta(milliseconds=kept_ms)

    def close(self) -> None:
        with self._lock:
            self._drop_admin()

    def _described(self) -> Any:
        (found,) = self._ask("describing it", lambda admin: admin.describe_topics([self.name]))
        if found["error_code"]:
            from kafka.errors import for_code

            # Perhaps it is only not there yet: a broker that just started knows no topics.
            what = for_code(found["error_code"]).__name__
            raise StageUnavailable(f"Kafka at {self.clients.servers}: topic {self.name}: {what}")
        return found

    def _offset(self, partition: int, of: str | int, *, is_committed: bool) -> int:
        return self._offsets((partition,), of, is_committed=is_committed)[partition]

    def _offsets(self, partitions: Sequence[int], of: str | int, *, is_committed: bool) -> dict[int, int]:
        from kafka import IsolationLevel, OffsetSpec, TopicPartition

        places = {partition: TopicPartition(self.name, partition) for partition in partitions}
        wanted = dict.fromkeys(places.values(), of if isinstance(of, int) else OffsetSpec[of])
        level = IsolationLevel.READ_COMMITTED if is_committed else IsolationLevel.READ_UNCOMMITTED
        found = self._ask(
            f"asking for offsets of partition {', '.join(map(str, partitions))}",
            lambda admin: admin.list_partition_offsets(wanted, isolation_level=level),
        )
        return {partition: int(found[place].offset) for partition, place in places.items()}

    def _ask(self, doing: str, question: Callable[[Any], Answer]) -> Answer:
        with self._lock:
            if self._admin is None:
                self._admin = self.clients.admin()
            try:
                with self.clients.errors(f"topic {self.name}, {doing}"):
                    answer = question(self._admin)
            except BaseException:
                self._drop_admin()  # it remembers refused passwords, and waits longer at each attempt
                raise
            return answer

    def _drop_admin(self) -> None:
        if self._admin is not None:
            self._admin.close()
            self._admin = None
