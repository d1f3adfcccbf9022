"""Writing records to a log: what a producer promises, whichever client is behind it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """Where the log has put a record, once enough of its replicas hold it."""

    topic: str
    partition: int
    offset: int


class Delivery(Protocol):
    """One record on its way."""

    @property
    def is_done(self) -> bool:
        """Whether ``ack`` gives an answer without waiting."""
        ...

    def ack(self, timeout_s: float) -> Ack:
        """Wait for the log's answer.

        Raises:
            StageUnavailable: There was none in time, or the log refused. Whether the record was written is
                then unknown.
        """
        ...


class Producer(Protocol):
    """Sends records; those with one key reach one partition, in the order in which they were sent."""

    def send(self, topic: str, *, key: bytes | None, value: bytes, headers: Headers) -> Delivery:
        """Hand a record over; it is sent in the background and nothing bounds how many wait.

        Raises:
            StageUnavailable: The log cannot even be asked where the topic is.
        """
        ...

    def flush(self, timeout_s: float) -> None:
        """Wait until every record has been acknowledged or has failed.

        Raises:
            StageUnavailable: Some have done neither in time.
        """
        ...

    def close(self, timeout_s: float) -> None:
        """Let go of the log; what is still on its way after ``timeout_s`` is given up."""
        ...
