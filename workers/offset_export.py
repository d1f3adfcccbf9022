"""The watermark as a consumer group's committed offset: for lag tools, and never read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipelines.errors import InputRefused, StageUnavailable
from storage.database import reading
from storage.lag import watermarks
from workers.kafka_clients import KafkaClients
from workers.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

GROUP = "triadline"  # nobody may subscribe under this name: Kafka refuses the commits of a group with members


@dataclass(slots=True, kw_only=True, eq=False)
class OffsetExport:
    """Commits again even what has not changed, because Kafka forgets the offsets of idle groups."""

    engine: Engine
    settings: Settings
    _admin: Any = field(default=None, init=False)

    def export(self, topics: Mapping[int, str]) -> None:
        """Commit the watermark of every partition that was begun; ``topics`` is by the ledger's log id.

        Raises:
            StageUnavailable: The database or Kafka did not answer, or Kafka does not let us: nothing
                depends on it, so that ends no process.
        """
        try:
            self._export(topics)
        except InputRefused as refusal:
            raise StageUnavailable(str(refusal)) from refusal

    def _export(self, topics: Mapping[int, str]) -> None:
        from kafka import TopicPartition
        from kafka.structs import OffsetAndMetadata

        with reading(self.engine) as connection:
            done = watermarks(connection)
        offsets = {
            TopicPartition(topics[log_id], partition): OffsetAndMetadata(offset, "", -1)
            for (log_id, partition), offset in done.items()
            if log_id in topics
        }
        if not offsets:
            return
        clients = KafkaClients(settings=self.settings)
        if self._admin is None:
            self._admin = clients.admin()
        with clients.errors(f"committing watermarks as group {GROUP}"):
            answers = self._admin.alter_group_offsets(GROUP, offsets)
        refused = {error.__name__ for error in answers.values() if error.errno}
        if refused:
            raise StageUnavailable(f"group {GROUP}: watermarks not committed: {', '.join(sorted(refused))}")
