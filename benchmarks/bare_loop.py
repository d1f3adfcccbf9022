"""The least that a program must do: read, decode, ask the model. Nothing is kept, and nothing survives it."""

import time
from collections.abc import Mapping

from benchmarks.rig import CALL
from benchmarks.stand_in import PRODUCT, Cost, StandInExpert, stand_in_recipe
from pipelines.decoding import decode_picture, payload_sha256
from pipelines.frame import Frame, Geometry
from workers.claim_check import ClaimCheck
from workers.frame_log import Record
from workers.kafka_clients import KafkaClients
from workers.kafka_records import any_line, record_of
from workers.settings import Settings

_PATIENCE_S = 30.0


def bare_loop(
    settings: Settings, topic: str, first: Mapping[int, int], end: Mapping[int, int], *, cost: Cost
) -> float:
    """Seconds for all records from ``first`` to ``end``, by partition, in one thread of this process."""
    from kafka import TopicPartition

    expert = StandInExpert(recipe=stand_in_recipe(), cost=cost)
    claims = ClaimCheck()
    consumer = KafkaClients(settings=settings).consumer()
    try:
        consumer.assign([TopicPartition(topic, partition) for partition in end])
        for partition in end:
            consumer.seek(TopicPartition(topic, partition), first.get(partition, 0))
        left = sum(end.values()) - sum(first.get(partition, 0) for partition in end)
        frames: list[Frame] = []
        began = time.monotonic()
        while left:
            if time.monotonic() - began > _PATIENCE_S + left * cost.seconds(1):
                raise RuntimeError(f"{left} records did not come")
            for messages in consumer.poll(timeout_ms=100, max_records=CALL).values():
                for message in messages:
                    frames.append(_frame(record_of(message, lines=any_line, fetch=claims.fetch)))
                    left -= 1
                    if len(frames) == CALL or left == 0:
                        expert.inspect(frames)
                        frames = []
        return time.monotonic() - began
    finally:
        consumer.close(autocommit=False)


def _frame(record: Record) -> Frame:
    assert record.envelope is not None
    assert record.payload is not None
    picture = decode_picture(record.payload, geometry=Geometry(), envelope=record.envelope, name=record.name)
    digest = payload_sha256(record.payload)
    return Frame(envelope=record.envelope, picture=picture, product=PRODUCT, sha256=digest)
