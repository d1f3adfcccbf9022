"""Thousands of frames at a plant's pace through the whole system, and an account of every one of them.

    python -m benchmarks.stack_run [--frames 20000 --fps 200] [--workers 2] [--json OUT]
    python -m benchmarks.stack_run --backlog 4000 --minutes 30 --fps 20      whether memory stays flat

Planner, publisher and workers are processes; the model only sleeps. Exit code 1 when frames are missing at
the end, 4 when the audit finds a hole or a double.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, func, select, text

from benchmarks import frames as pictures
from benchmarks.figures import circumstances, megabytes_by_minute, settled, slope_mb_per_hour
from benchmarks.memory_watch import MemoryWatch
from benchmarks.rig import Installation, installation, interruptible, service_versions, services
from benchmarks.stand_in import Cost
from storage.audit import PartitionAudit, audit
from storage.database import reading
from storage.schema import outbox, verdict
from workers.pace import Pace

DISTINCT = 400  # pictures, which come again and again
PERCENTILES = (0.5, 0.95, 0.99, 1.0)
EXIT_MISSING, EXIT_AUDIT = 1, 4
NOT_MEASURED = (
    f"writing each thumbnail, as benchmarks/distributed.py does: {DISTINCT} pictures come again and again",
    "rationales: no frame asks for one; real models and devices: the stand-in sleeps",
    "PostgreSQL's memory: its processes share most of it",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Seconds, by the share of frames that took no longer."""

    name: str
    seconds: Mapping[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What became of all frames sent, by the ledger."""

    sent: int
    audits: tuple[PartitionAudit, ...]
    latencies: tuple[Latency, ...]
    published: int
    produce_s: float
    verdicts_s: float  # from the first plan to the last verdict
    drain_s: float  # after the last frame was sent

    @property
    def counts(self) -> dict[str, int]:
        names = ("verdict", "dead_letter", "gap", "lost", "pending", "holes", "doubles", "strays")
        return {name: sum(getattr(each, name) for each in self.audits) for name in names}

    @property
    def exit_code(self) -> int:
        if not self.audits or not all(each.is_clean for each in self.audits):
            return EXIT_AUDIT
        return EXIT_MISSING if self.counts["verdict"] != self.sent else 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--fps", type=float, default=200.0, help="of all lines together")
    parser.add_argument("--minutes", type=float, help="send for so long, in place of --frames")
    parser.add_argument("--backlog", type=int, default=0, help="frames sent before these, unpaced")
    parser.add_argument("--lines", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--call-ms", type=float, default=50.0, help="cost of a model call")
    parser.add_argument("--drain-s", type=float, default=600.0, help="how long draining may take")
    parser.add_argument("--json", type=Path, help="also write everything here")
    arguments = parser.parse_args()
    paced = int(arguments.minutes * 60 * arguments.fps) if arguments.minutes else arguments.frames
    with ExitStack() as stack:
        on = stack.enter_context(services())
        about = circumstances(service_versions(on))
        triadline = stack.enter_context(installation(on, partitions=arguments.lines))
        triadline.start("planner", "planner")
        triadline.start("publisher", "publisher")
        for number in range(arguments.workers):
            cost = Cost(per_call_s=arguments.call_ms / 1000)
            triadline.start(f"worker-{number + 1}", "worker", "--queue", "inspect", cost=cost)
        triadline.wait_ready()
        watched = {child.name: child.process.pid for child in (*triadline.children, on.redis)}
        if on.kafka.pid is not None:
            watched["kafka"] = on.kafka.pid
        watch = stack.enter_context(MemoryWatch(watched))
        account = run(triadline, frames=arguments.backlog + paced, arguments=arguments)
    show(about, account, watch)
    if arguments.json:
        arguments.json.write_text(json.dumps(as_json(about, account, watch), indent=1))
    sys.exit(account.exit_code)


def run(triadline: Installation, *, frames: int, arguments: argparse.Namespace) -> Account:
    """Send, wait until all is inspected and published, and ask the ledger."""
    drawn = pictures.draw(min(DISTINCT, frames))
    sending = pictures.producer(triadline.settings, triadline.topic)
    pace: Pace | None = None
    began = time.monotonic()

    def meanwhile() -> bool:
        sending.collect()
        return False

    try:
        for number, frame in enumerate(pictures.outgoing(drawn, frames=frames, lines=arguments.lines)):
            if number >= arguments.backlog:
                pace = pace or Pace(arguments.fps)
                pace.wait(meanwhile)
            sending.send(frame)
            if number % 100 == 0:
                for child in triadline.children:
                    child.require_running()
        sending.finish()
    finally:
        sending.producer.close(10.0)
    sent_at = time.monotonic()
    triadline.wait_inspected(frames, within_s=arguments.drain_s)
    triadline.wait_published(within_s=arguments.drain_s)
    drained_at = time.monotonic()
    with reading(triadline.engine) as connection:
        return Account(
            sent=sending.sent,
            audits=audit(connection),
            latencies=latencies(connection),
            published=int(
                connection.execute(
                    select(func.count()).where(outbox.c.published_at.is_not(None))
                ).scalar_one()
            ),
            produce_s=sent_at - began,
            verdicts_s=_seconds_of_work(connection),
            drain_s=drained_at - sent_at,
        )


def latencies(connection: Connection) -> tuple[Latency, ...]:
    """PostgreSQL sorts the ledger's own times; camera and database share this machine's clock."""
    found = []
    for name, since in (("planned to decided", "planned_at"), ("captured to decided", "captured_at")):
        asked = text(
            f"SELECT percentile_disc(CAST(:shares AS float[])) WITHIN GROUP "
            f"(ORDER BY extract(epoch FROM decided_at - {since})) FROM verdict"
        )
        seconds = connection.execute(asked, {"shares": list(PERCENTILES)}).scalar_one() or ()
        found.append(
            Latency(name=name, seconds=dict(zip(PERCENTILES, map(float, seconds), strict=bool(seconds))))
        )
    return tuple(found)


def _seconds_of_work(connection: Connection) -> float:
    span = func.max(verdict.c.decided_at) - func.min(verdict.c.planned_at)
    found = connection.execute(select(span)).scalar_one()
    return float(found.total_seconds()) if found else 0.0


def as_json(about: dict[str, object], account: Account, watch: MemoryWatch) -> dict[str, object]:
    return {
        "circumstances": about,
        **asdict(account),
        "counts": account.counts,
        "processes": {
            name: {
                "peak_mb": max(megabytes_by_minute(samples), default=0.0),
                "by_minute_mb": megabytes_by_minute(samples),
                "slope_mb_per_hour": slope_mb_per_hour(settled(samples)),
                "cpu_s": watch.cpu_s.get(name),
            }
            for name, samples in watch.samples.items()
        },
        "not_measured": NOT_MEASURED,
    }


def show(about: dict[str, object], account: Account, watch: MemoryWatch) -> None:
    console = Console(width=150)
    console.print("  ".join(f"{name} {value}" for name, value in about.items()), highlight=False)
    counts = "  ".join(f"{name} {count}" for name, count in account.counts.items())
    rate = account.counts["verdict"] / account.verdicts_s if account.verdicts_s else 0.0
    console.print(
        f"sent {account.sent} in {account.produce_s:.1f} s, published {account.published}\naudit: {counts}\n"
        f"{rate:.1f} frames/s; drained {account.drain_s:.1f} s after the last frame was sent"
    )
    table = Table("seconds", *(f"{share:.0%}" for share in PERCENTILES), title="Latency, by the ledger")
    for each in account.latencies:
        table.add_row(each.name, *(f"{each.seconds.get(share, 0):.3f}" for share in PERCENTILES))
    console.print(table, process_table(watch, frames=account.sent))
    for sentence in NOT_MEASURED:
        console.print(f"not measured: {sentence}", highlight=False)


def process_table(watch: MemoryWatch, *, frames: int) -> Table:
    """Of each process."""
    table = Table(
        *("process", "core, ms per frame", "peak", "slope, MB/h", "each minute"),
        title="Processes: time on cores, and resident memory in MB each second (slope: of the later half)",
    )
    for name, samples in watch.samples.items():
        minutes = megabytes_by_minute(samples)
        slope = slope_mb_per_hour(settled(samples))
        table.add_row(
            name,
            f"{watch.cpu_s.get(name, 0) / max(1, frames) * 1000:.2f}",
            f"{max(minutes, default=0):.0f}",
            "" if slope is None else f"{slope:+.1f}",
            _joined(minutes),
        )
    return table


def _joined(minutes: Sequence[float]) -> str:
    return " ".join(f"{each:.0f}" for each in minutes)


if __name__ == "__main__":
    interruptible(main)
