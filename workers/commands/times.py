"""Times as options: what a person writes is meant in UTC."""

from datetime import UTC, datetime

TIMES = ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"]


def as_utc(time: datetime | None) -> datetime | None:
    """The option's value with its time zone."""
    return None if time is None else time.replace(tzinfo=UTC)
