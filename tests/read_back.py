"""What a topic holds, read by a plain consumer that knows nothing of ours."""

import time
from typing import Any

from pipelines.envelope import read_envelope
from pipelines.frame import Envelope, Line
from tests.brokers import KafkaBroker


def records_of(kafka: KafkaBroker, topic: str) -> list[Any]:
    """Every record, partition by partition in the order of their offsets."""
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(
        bootstrap_servers=kafka.servers, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    try:
        places = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
        consumer.assign(places)
        ends = consumer.end_offsets(places)
        found: list[Any] = []
        deadline = time.monotonic() + 30
        while any(consumer.position(place) < ends[place] for place in places):
            assert time.monotonic() < deadline, f"{topic}: {len(found)} records of {ends}"
            for some in consumer.poll(timeout_ms=200).values():
                found += some
        return sorted(found, key=lambda record: (record.partition, record.offset))
    finally:
        consumer.close()


def envelope_in(record: Any) -> Envelope:
    return read_envelope(record.headers, key=record.key, line=Line(id=record.key.decode()))
