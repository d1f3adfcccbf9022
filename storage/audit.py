"""The proof of the contract: every planned offset has exactly one end, and what does not is named."""

from dataclasses import dataclass

from sqlalchemy import Connection

from storage.schema import LIVE_RUN


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A half-open interval of offsets."""

    first: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionAudit:
    """One log partition of one run, over ``[first, end)``. All counts are of distinct offsets.

    ``pending`` are in batches that are not done yet. A hole has no end and is in no such batch; a double has
    more than one end. ``strays`` have an end though they were never planned. The spans are the first ones
    found, at most a hundred of each, ascending.
    """

    run_id: int
    log_id: int
    partition: int
    first: int
    end: int
    verdict: int
    dead_letter: int
    gap: int
    lost: int
    pending: int
    holes: int
    doubles: int
    strays: int
    hole_spans: tuple[Span, ...]
    double_spans: tuple[Span, ...]

    @property
    def is_clean(self) -> bool:
        return self.holes == self.doubles == self.strays == 0


def audit(
    connection: Connection, *, run_id: int = LIVE_RUN, log_id: int | None = None
) -> tuple[PartitionAudit, ...]:
    """Check every partition that this run has planned, ordered by log and partition."""
    raise NotImplementedError
