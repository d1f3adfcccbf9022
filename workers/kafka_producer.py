"""The producer on Kafka: acknowledged by all replicas, never doubled by its own retries."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pipelines.errors import InputRefused
from workers.kafka_clients import KafkaClients
from workers.kafka_options import REQUEST_MS
from workers.producer import Ack, Headers
from workers.settings import Settings

_LINGER_MS = 5
_BATCH_BYTES = 1024 * 1024
BROKERS_OWN = -1  # as a number of partitions


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KafkaDelivery:
    clients: KafkaClients
    topic: str
    future: Any  # kafka-python ships no types

    @property
    def is_done(self) -> bool:
        return bool(self.future.is_done)

    def ack(self, timeout_s: float) -> Ack:
        """As ``Delivery`` says; and ``InputRefused`` where only another setting or right would help."""
        with self.clients.errors(f"writing to {self.topic}"):
            found = self.future.get(timeout=timeout_s)
        return Ack(topic=found.topic, partition=found.partition, offset=found.offset)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KafkaProducer:
    """A ``Producer`` over kafka-python's. ``delivery_timeout_s``: after it a record has arrived or failed."""

    clients: KafkaClients
    client: Any
    delivery_timeout_s: float

    def send(self, topic: str, *, key: bytes | None, value: bytes, headers: Headers) -> KafkaDelivery:
        with self.clients.errors(f"writing to {topic}"):
            future = self.client.send(topic, key=key, value=value, headers=list(headers))
        return KafkaDelivery(clients=self.clients, topic=topic, future=future)

    def flush(self, timeout_s: float) -> None:
        with self.clients.errors("writing"):
            self.client.flush(timeout=timeout_s)

    def close(self, timeout_s: float) -> None:
        with self.clients.errors("closing"):
            self.client.close(timeout=timeout_s)


def open_producer(settings: Settings, *, delivery_timeout_s: float = 30.0) -> KafkaProducer:
    """Connect. One delivery at least outlives one request.

    Raises:
        StageUnavailable: No broker answered.
        InputRefused: ``kafka_servers`` is not set, or the brokers will not have us.
    """
    clients = KafkaClients(settings=settings)
    delivery_ms = max(int(delivery_timeout_s * 1000), REQUEST_MS + 1000)
    client = clients.producer(
        acks="all",
        enable_idempotence=True,
        allow_auto_create_topics=False,
        delivery_timeout_ms=delivery_ms,
        max_block_ms=delivery_ms,
        linger_ms=_LINGER_MS,
        batch_size=_BATCH_BYTES,
    )
    return KafkaProducer(clients=clients, client=client, delivery_timeout_s=delivery_ms / 1000)


def ensure_topic(
    settings: Settings, topic: str, *, partitions: int | None, configs: Mapping[str, str] | None = None
) -> int:
    """How many partitions the topic has; made with ``partitions`` and ``configs`` where it is not there.

    Raises:
        StageUnavailable: No broker answered.
        InputRefused: It is not there and ``partitions`` is None, or the brokers will not make it.
    """
    from kafka.errors import TopicAlreadyExistsError

    clients = KafkaClients(settings=settings)
    admin = clients.admin()
    try:
        with clients.errors(f"looking for topic {topic}"):
            if found := _partitions(admin, topic):
                return found
        if partitions is None:
            raise InputRefused(f"topic {topic!r} does not exist: make it, or say --partitions N")
        with clients.errors(f"making topic {topic}"):
            with suppress(TopicAlreadyExistsError):  # another was first
                admin.create_topics({topic: {"num_partitions": partitions, "configs": dict(configs or {})}})
            admin.wait_for_topics([topic])
            return _partitions(admin, topic)
    finally:
        admin.close()


def frames_configs(settings: Settings) -> dict[str, str]:
    """What a topic of frames needs beyond the brokers' defaults.

    Records are as large as frames. They age by the broker's clock: by a camera's, one that is behind would
    have its frames removed before they are read.
    """
    room_for_headers = 1024 * 1024
    most_bytes = settings.record_mb * 1024 * 1024 + room_for_headers
    return {"max.message.bytes": str(most_bytes), "message.timestamp.type": "LogAppendTime"}


def _partitions(admin: Any, topic: str) -> int:
    (found,) = admin.describe_topics([topic])
    return len(found["partitions"]) if found["error_code"] == 0 else 0
