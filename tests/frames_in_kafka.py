"""Frames written to a topic as a camera's gateway would, one per offset."""

from collections.abc import Sequence
from itertools import count
from types import TracebackType
from typing import Any, Self

from pipelines.envelope import write_envelope
from pipelines.frame import Envelope
from tests.brokers import KafkaBroker
from workers.kafka_clients import KafkaClients

LINE = "line-1"
_NUMBERS = count(1)

Headers = Sequence[tuple[str, bytes]]


def envelope_of(**fields: Any) -> Envelope:
    return Envelope(**({"id": f"event-{next(_NUMBERS)}", "source": "camera-1", "line": LINE} | fields))


class Frames:
    """A producer for one topic; ``options`` are kafka-python's. Sends are acknowledged when they return."""

    def __init__(self, kafka: KafkaBroker, topic: str, **options: Any) -> None:
        self.topic = topic
        self.producer = KafkaClients(settings=kafka.settings()).producer(**options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.producer.close(timeout=5)

    def send(self, *payloads: bytes | None, partition: int = 0, **fields: Any) -> None:
        """Each under an envelope of its own, with these fields."""
        sent = [self.put(payload, write_envelope(envelope_of(**fields)), partition) for payload in payloads]
        self.wait(sent)

    def put(
        self,
        payload: bytes | None,
        headers: Headers,
        partition: int = 0,
        *,
        key: bytes | None = LINE.encode(),
        timestamp_ms: int | None = None,
    ) -> Any:
        """One record, any headers and key; acknowledged later."""
        return self.producer.send(
            self.topic, payload, key, list(headers), partition=partition, timestamp_ms=timestamp_ms
        )

    def wait(self, sent: Sequence[Any]) -> list[int]:
        """The offsets that they got."""
        self.producer.flush(timeout=20)
        return [each.get(timeout=20).offset for each in sent]

    def in_transaction(self, *payloads: bytes, is_committed: bool = True, partition: int = 0) -> None:
        """One transaction, whose marker takes an offset of its own. Needs ``transactional_id``."""
        self.producer.begin_transaction()
        self.send(*payloads, partition=partition)
        if is_committed:
            self.producer.commit_transaction()
        else:
            self.producer.abort_transaction()
