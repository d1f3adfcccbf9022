"""A producer whose log is a list: it keeps its protocol and fails, or takes its time, when told to."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pipelines.errors import StageUnavailable
from workers.producer import Ack, Headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """One record in the log."""

    topic: str
    key: bytes | None
    value: bytes
    headers: dict[str, str]


@dataclass(slots=True, kw_only=True)
class FakeLog:
    """What outlives its producers. ``fails`` says of the n-th record sent whether its ack fails."""

    fails: Callable[[int], bool] = lambda number: False
    loses: Callable[[int], bool] = lambda number: False  # failing, was it not even written?
    ack_s: float = 0.0
    written: list[Written] = field(default_factory=list)
    sent: int = 0
    opened: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self) -> "FakeProducer":
        self.opened += 1
        return FakeProducer(log=self)

    def of(self, key: str) -> list[Written]:
        return [each for each in self.written if each.key == key.encode()]


@dataclass(slots=True, kw_only=True)
class FakeDelivery:
    answer: Ack | StageUnavailable
    ack_s: float
    is_done: bool = False

    def ack(self, timeout_s: float) -> Ack:
        time.sleep(min(self.ack_s, timeout_s))
        self.is_done = True
        if isinstance(self.answer, StageUnavailable):
            raise self.answer
        return self.answer


@dataclass(slots=True, kw_only=True)
class FakeProducer:
    log: FakeLog
    deliveries: list[FakeDelivery] = field(default_factory=list)
    most_waiting: int = 0
    is_closed: bool = False

    def send(self, topic: str, *, key: bytes | None, value: bytes, headers: Headers) -> FakeDelivery:
        assert not self.is_closed
        with self.log.lock:
            number = self.log.sent
            self.log.sent += 1
            fails, loses = self.log.fails(number), self.log.loses(number)
            if not loses:
                texts = {name: text.decode() for name, text in headers}
                assert len(texts) == len(headers)
                self.log.written.append(Written(topic=topic, key=key, value=value, headers=texts))
            offset = len(self.log.written) - 1
        answer = StageUnavailable("no ack") if fails else Ack(topic=topic, partition=0, offset=offset)
        self.deliveries.append(FakeDelivery(answer=answer, ack_s=self.log.ack_s))
        self.most_waiting = max(self.most_waiting, len(self.waiting))
        return self.deliveries[-1]

    @property
    def waiting(self) -> Sequence[FakeDelivery]:
        return [each for each in self.deliveries if not each.is_done]

    def flush(self, timeout_s: float) -> None:
        for delivery in self.deliveries:
            delivery.is_done = True

    def close(self, timeout_s: float) -> None:
        self.is_closed = True
