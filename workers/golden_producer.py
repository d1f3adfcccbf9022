"""A producer for golden parts, for one round of sending: between rounds nothing is held open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING

from pipelines.errors import StageUnavailable
from workers.frame_producer import FrameProducer

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.settings import Settings

_MEGABYTE = 1024 * 1024
_IN_FLIGHT_BYTES = 64 * _MEGABYTE
_DELIVERY_S = 10.0  # planners send, and plan nothing meanwhile
_GRACE_S = 5.0  # beyond what a delivery may take


def producer_to(settings: Settings) -> Callable[[str], AbstractContextManager[FrameProducer]]:
    """Gives a producer to a topic; closed at the block's end, whatever is still on its way."""

    @contextmanager
    def opened(topic: str) -> Iterator[FrameProducer]:
        from workers.kafka_producer import open_producer

        producer = open_producer(settings, delivery_timeout_s=_DELIVERY_S)
        try:
            yield FrameProducer(
                producer=producer,
                topic=topic,
                most_record_bytes=settings.record_mb * _MEGABYTE,
                most_in_flight_bytes=_IN_FLIGHT_BYTES,
                ack_timeout_s=producer.delivery_timeout_s + _GRACE_S,
                on_ack=lambda _: None,
            )
        finally:
            with suppress(StageUnavailable):  # what is to be said of an outage has been said by then
                producer.close(timeout_s=_GRACE_S)

    return opened
