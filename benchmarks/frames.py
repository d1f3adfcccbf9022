"""Frames for benchmarks: small pictures that all differ, drawn beforehand, and sent as a plant's would be."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

import cv2
import numpy as np

from benchmarks.stand_in import PRODUCT
from pipelines.learn.simulator import EVALUATION_SEED, simulated_lines
from workers.frame_producer import FrameProducer, OutgoingFrame
from workers.kafka_producer import open_producer
from workers.settings import Settings

SIDE_PX = 256
_DRAWN = 8  # by the simulator, which is slow; the others are these with other noise
_IN_FLIGHT_BYTES = 32 * 1024 * 1024
_RECORD_BYTES = 1_000_000


def draw(count: int) -> list[bytes]:
    """PNGs of simulated surfaces, no two with the same pixels."""
    line = next(iter(simulated_lines().values()))
    surfaces = [
        cv2.resize(line.frame(EVALUATION_SEED + seed).pixels, (SIDE_PX, SIDE_PX)).astype(np.int16)
        for seed in range(min(_DRAWN, count))
    ]
    dice = np.random.default_rng(0)
    drawn: list[bytes] = []
    for number in range(count):
        surface = surfaces[number % len(surfaces)]
        noisy = np.clip(surface + dice.integers(-4, 5, surface.shape), 0, 255).astype(np.uint8)
        is_done, encoded = cv2.imencode(".png", noisy, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        assert is_done
        drawn.append(encoded.tobytes())
    return drawn


def outgoing(drawn: Sequence[bytes], *, frames: int, lines: int) -> Iterator[OutgoingFrame]:
    """So many frames of lines in turn; the pictures come again and again."""
    for number in range(frames):
        yield OutgoingFrame(
            name=f"frame-{number}",
            line=f"line-{number % lines + 1}",
            payload=drawn[number % len(drawn)],
            known={"product": PRODUCT, "content_type": "image/png"},
        )


def producer(settings: Settings, topic: str, *, deadline: timedelta | None = None) -> FrameProducer:
    """As `triad produce` has it; acknowledgements are only counted."""
    return FrameProducer(
        producer=open_producer(settings),
        topic=topic,
        most_record_bytes=_RECORD_BYTES,
        most_in_flight_bytes=_IN_FLIGHT_BYTES,
        ack_timeout_s=30.0,
        on_ack=lambda done: None,
        deadline=deadline,
    )


def send(settings: Settings, topic: str, drawn: Sequence[bytes], *, lines: int) -> None:
    """Each picture once, acknowledged when this returns."""
    sending = producer(settings, topic)
    try:
        for frame in outgoing(drawn, frames=len(drawn), lines=lines):
            sending.send(frame)
        sending.finish()
    finally:
        sending.producer.close(10.0)
