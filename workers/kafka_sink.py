"""Outbox messages as CloudEvents on Kafka, binary mode: verdicts on one topic, the uninspected on another."""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC
from time import monotonic
from urllib.parse import quote

import orjson

from pipelines.errors import InputRefused, StageUnavailable
from storage.outbox import Message
from workers.message_schemas import schema_id
from workers.messages import MessageKind
from workers.producer import Producer
from workers.settings import Settings

EVENT_TYPES = {
    MessageKind.VERDICT: "org.triadline.verdict.decided.v1",
    MessageKind.AMENDMENT: "org.triadline.verdict.amended.v1",
    MessageKind.DEAD_LETTER: "org.triadline.frame.rejected.v1",
    MessageKind.LOST: "org.triadline.frames.lost.v1",
}
_GRACE_S = 5.0  # a delivery is to end by its own timeout, not by ours: then nothing of it is left
_OF_VERDICTS = (MessageKind.VERDICT, MessageKind.AMENDMENT)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # not allowed in a CloudEvents string


class KafkaSink:
    """Sends a piece and waits for all of its acknowledgements.

    ``open_producer`` is asked at the first piece, and again after a failure: Kafka cannot tell a record that
    is sent anew from another one, and what an old producer still holds must not come after it.
    """

    def __init__(
        self,
        open_producer: Callable[[], Producer],
        *,
        verdicts_topic: str,
        dead_letters_topic: str,
        ack_timeout_s: float,
    ) -> None:
        self._open_producer = open_producer
        self._producer: Producer | None = None
        self._verdicts_topic, self._dead_letters_topic = verdicts_topic, dead_letters_topic
        self._ack_timeout_s = ack_timeout_s

    def publish(self, messages: Sequence[Message]) -> None:
        """Raises ``StageUnavailable`` unless every message was acknowledged in time.

        A refusal is one, too: somebody has to change a setting or a right, and the messages wait for that.
        """
        try:
            self._publish(messages)
        except StageUnavailable:
            self.close()
            raise
        except InputRefused as refusal:
            self.close()
            raise StageUnavailable(str(refusal)) from refusal

    def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(StageUnavailable):
                producer.close(timeout_s=1.0)

    def _publish(self, messages: Sequence[Message]) -> None:
        if self._producer is None:
            self._producer = self._open_producer()
        until = monotonic() + self._ack_timeout_s
        deliveries = [
            self._producer.send(
                self._topic(message),
                key=message.line.encode() or None,
                value=orjson.dumps(message.body),
                headers=event_headers(message),
            )
            for message in messages
        ]
        for delivery in deliveries:
            delivery.ack(max(0.0, until - monotonic()))

    def _topic(self, message: Message) -> str:
        return self._verdicts_topic if message.kind in _OF_VERDICTS else self._dead_letters_topic


def open_kafka_sink(settings: Settings, *, delivery_timeout_s: float = 30.0) -> KafkaSink:
    """The sink that the settings name. Nothing is connected before the first message.

    A topic that is not there is made with as many partitions as the brokers give by themselves.
    """
    from workers.kafka_producer import BROKERS_OWN, ensure_topic, open_producer

    def opened() -> Producer:
        for topic in (settings.verdicts_topic, settings.dead_letters_topic):
            ensure_topic(settings, topic, partitions=BROKERS_OWN)
        return open_producer(settings, delivery_timeout_s=delivery_timeout_s)

    return KafkaSink(
        opened,
        verdicts_topic=settings.verdicts_topic,
        dead_letters_topic=settings.dead_letters_topic,
        ack_timeout_s=delivery_timeout_s + _GRACE_S,
    )


def event_headers(message: Message) -> list[tuple[str, bytes]]:
    """The CloudEvents attributes; the same message has the same ones whenever it is told.

    The id holds the time beside the row's number: a database that was restored from a copy gives numbers out
    a second time.
    """
    kind = MessageKind(message.kind)
    milliseconds = round(message.created_at.timestamp() * 1000)
    attributes = {
        "content-type": "application/json",
        "ce_specversion": "1.0",
        "ce_id": f"{message.id}-{milliseconds}",
        "ce_source": f"/triadline/lines/{quote(message.line, safe='')}",
        "ce_type": EVENT_TYPES[kind],
        "ce_time": message.created_at.astimezone(UTC).isoformat(),
        "ce_subject": str(message.body["id"]),
        "ce_dataschema": schema_id(kind),
    }
    if message.line:
        attributes["ce_partitionkey"] = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", message.line)
    return [(name, text.encode()) for name, text in attributes.items()]
