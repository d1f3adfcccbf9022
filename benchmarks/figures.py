"""What benchmarks say of many numbers, and where and on what they were measured."""

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Self

_PACKAGES = ("celery", "kafka-python", "redis", "psycopg", "sqlalchemy", "opencv-python-headless", "numpy")
_MEGABYTE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A figure measured several times."""

    median: float
    least: float
    most: float
    times: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        return cls(median=statistics.median(values), least=min(values), most=max(values), times=len(values))

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.least:.3g}–{self.most:.3g})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A process's resident memory at a time in seconds, of any one clock."""

    at_s: float
    resident_bytes: int


def slope_mb_per_hour(samples: Sequence[Sample]) -> float | None:
    """How fast memory grows, by least squares; None where fewer than two moments are known."""
    if len({sample.at_s for sample in samples}) < 2:
        return None
    found = statistics.linear_regression(
        [sample.at_s / 3600 for sample in samples], [sample.resident_bytes / _MEGABYTE for sample in samples]
    )
    return found.slope


def settled(samples: Sequence[Sample], *, share: float = 0.5) -> list[Sample]:
    """The later ``share`` of the time: what a process takes to start is not growth."""
    if not samples:
        return []
    first, last = samples[0].at_s, samples[-1].at_s
    return [sample for sample in samples if sample.at_s >= last - share * (last - first)]


def megabytes_by_minute(samples: Sequence[Sample]) -> list[float]:
    """The most of each minute since the first sample; a minute without one repeats the minute before."""
    if not samples:
        return []
    began = samples[0].at_s
    most: dict[int, int] = {}
    for sample in samples:
        minute = int((sample.at_s - began) // 60)
        most[minute] = max(most.get(minute, 0), sample.resident_bytes)
    found: list[float] = []
    for minute in range(max(most) + 1):
        found.append(most[minute] / _MEGABYTE if minute in most else found[-1])
    return found


def resident_bytes(pid: int) -> int | None:
    """Of a process that is there, by Linux's /proc."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    sizes = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(sizes[0]) * 1024 if sizes else None


def cpu_seconds(pid: int) -> float | None:
    """What a process that is there has taken of all cores so far, by Linux's /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def circumstances(services: Mapping[str, str]) -> dict[str, object]:
    """Machine, date and versions: without them a number means nothing."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],  # by others: on a busy machine nothing below holds
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
        **services,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
