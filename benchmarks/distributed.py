"""What the distributed system adds to a model: real PostgreSQL, Redis and Kafka, a model that only sleeps.

    python -m benchmarks.distributed [--frames 640] [--repeats 3] [--json OUT]

Four questions, one run: what the ledger costs by itself, how near workers come to what the model allows, how
near one worker comes to a bare loop that keeps nothing, and how it compares with one Celery task per frame.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import frames as pictures
from benchmarks.bare_loop import bare_loop
from benchmarks.figures import Spread, circumstances
from benchmarks.ledger_cost import LedgerCost, measure_ledger
from benchmarks.naive_run import naive_frames_per_s
from benchmarks.rig import CALL, Services, installation, interruptible, service_versions, services
from benchmarks.stand_in import Cost
from storage.database import migrate, open_database
from tests.databases import fresh_postgres

PARTITIONS, LINES, WARM_UP = 4, 8, 64
RANGES = (8, 32, 128)
LEDGER_FRAMES = 640  # per size of range
BARE_LOOP_SHARE, NAIVE_TIMES = 0.9, 3.0  # what we mean to reach
NOT_MEASURED = (
    "a real model and a device: the stand-in sleeps, and leaves its core free as a CPU model would not",
    "several machines, replication, networks: all runs on one machine's loopback, Kafka with one replica",
    "rationales: no frame asks for one; large frames: these are 256 × 256",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One way to run Triadline."""

    name: str
    cost: Cost
    workers: int = 1
    frames_per_range: int = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What came of a setting. The ideal is the model's time alone, shared among the workers."""

    setting: Setting
    frames: int
    frames_per_s: Spread
    ideal_frames_per_s: float | None
    bare_loop_frames_per_s: Spread | None

    @property
    def of_ideal(self) -> float | None:
        return self.frames_per_s.median / self.ideal_frames_per_s if self.ideal_frames_per_s else None

    @property
    def of_bare_loop(self) -> float | None:
        bare = self.bare_loop_frames_per_s
        return self.frames_per_s.median / bare.median if bare else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Naive:
    """One task per frame at a cost, and how many times faster Triadline is at the same."""

    cost: str
    frames: int
    frames_per_s: Spread
    triadline_frames_per_s: float

    @property
    def times(self) -> float:
        return self.triadline_frames_per_s / self.frames_per_s.median


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=640, help="per repetition")
    parser.add_argument("--repeats", type=int, default=3, help="of every measurement; medians are shown")
    parser.add_argument("--call-ms", type=float, default=50.0, help=f"cost of a call of {CALL} frames")
    parser.add_argument("--json", type=Path, help="also write everything here")
    arguments = parser.parse_args()
    call = Cost(per_call_s=arguments.call_ms / 1000)
    repeats: int = arguments.repeats
    drawn = pictures.draw(arguments.frames * repeats)
    with services() as on:
        about = circumstances(service_versions(on))
        ledger = measure_ledgers(on)
        settings = (
            Setting(name="1 worker", cost=call),
            Setting(name="2 workers", cost=call, workers=2),
            Setting(name="1 worker, ranges of 128", cost=call, frames_per_range=128),
            Setting(name="1 worker, no model", cost=Cost()),
        )
        runs = [measure(on, setting, drawn, repeats=repeats) for setting in settings]
        naive = compare_naive(on, call, drawn, repeats=repeats, triadline=runs[0].frames_per_s.median)
    show(about, ledger, runs, naive)
    if arguments.json:
        body = {
            "circumstances": about,
            "ledger": [asdict(each) for each in ledger],
            "runs": [
                {**asdict(run), "of_ideal": run.of_ideal, "of_bare_loop": run.of_bare_loop} for run in runs
            ],
            "naive": [{**asdict(each), "times": each.times} for each in naive],
            "targets": {"of_bare_loop": BARE_LOOP_SHARE, "naive_times": NAIVE_TIMES},
            "not_measured": NOT_MEASURED,
        }
        arguments.json.write_text(json.dumps(body, indent=1))


def measure_ledgers(on: Services) -> list[LedgerCost]:
    found: list[LedgerCost] = []
    for size in RANGES:
        with fresh_postgres(on.postgres_url, template=on.template) as engine:
            found.append(measure_ledger(engine, "PostgreSQL", frames_per_range=size, frames=LEDGER_FRAMES))
    for size in RANGES:
        engine = open_database(f"sqlite:///{on.folder / f'ledger-{size}.sqlite'}")
        migrate(engine)
        found.append(measure_ledger(engine, "SQLite", frames_per_range=size, frames=LEDGER_FRAMES))
        engine.dispose()
    return found


def measure(on: Services, setting: Setting, drawn: Sequence[bytes], *, repeats: int) -> Run:
    """Warm processes; each repetition's frames lie in Kafka before the planner may look."""
    frames = len(drawn) // repeats
    model_s = setting.cost.seconds(CALL) / CALL * frames
    within_s = 60 + 20 * model_s + frames / 5
    rates: list[float] = []
    calls: list[int] = []
    slices: list[tuple[dict[int, int], dict[int, int]]] = []
    variables = {"TRIAD_FRAMES_PER_BATCH": str(setting.frames_per_range)}
    with installation(on, partitions=PARTITIONS, variables=variables) as triadline:
        planner = triadline.start("planner", "planner")
        for number in range(setting.workers):
            triadline.start(f"worker-{number + 1}", "worker", "--queue", "inspect", cost=setting.cost)
        triadline.wait_ready()
        pictures.send(triadline.settings, triadline.topic, pictures.draw(WARM_UP), lines=LINES)
        triadline.wait_inspected(WARM_UP, within_s=within_s)
        for repeat in range(repeats):
            some = drawn[repeat * frames : (repeat + 1) * frames]
            before = triadline.ends()
            with planner.held_still():
                pictures.send(triadline.settings, triadline.topic, some, lines=LINES)
            done = triadline.wait_inspected(WARM_UP + (repeat + 1) * frames, within_s=within_s)
            rates.append(frames / done.seconds)
            calls.append(done.calls)
            slices.append((before, triadline.ends()))
        triadline.end()
        bare = [
            frames / bare_loop(triadline.settings, triadline.topic, *each, cost=setting.cost)
            for each in slices
        ]
    ideal_s = setting.cost.seconds(CALL) * max(calls) / setting.workers
    return Run(
        setting=setting,
        frames=frames,
        frames_per_s=Spread.of(rates),
        ideal_frames_per_s=frames / ideal_s if ideal_s else None,
        bare_loop_frames_per_s=Spread.of(bare) if setting.workers == 1 else None,
    )


def compare_naive(
    on: Services, call: Cost, drawn: Sequence[bytes], *, repeats: int, triadline: float
) -> list[Naive]:
    """Two costs, because what a call costs is saved by larger calls, and what a frame costs is not."""
    some = drawn[: max(40, len(drawn) // repeats // 4)]
    by_frame = Cost(per_frame_s=call.per_call_s / CALL)
    labels = {
        f"{call.per_call_s * 1000:g} ms per call, of one frame": call,
        f"{by_frame.per_frame_s * 1000:.3g} ms per frame, however many per call": by_frame,
    }
    return [
        Naive(
            cost=label,
            frames=len(some),
            frames_per_s=Spread.of(
                [naive_frames_per_s(on, cost, some, name=f"{kind}-{n}") for n in range(repeats)]
            ),
            # A full call costs Triadline the same either way.
            triadline_frames_per_s=triadline,
        )
        for kind, (label, cost) in enumerate(labels.items())
    ]


def show(
    about: dict[str, object], ledger: Sequence[LedgerCost], runs: Sequence[Run], naive: Sequence[Naive]
) -> None:
    console = Console(width=150)
    console.print("  ".join(f"{name} {value}" for name, value in about.items()), highlight=False)
    console.print(_ledger_table(ledger), _runs_table(runs), _naive_table(naive))
    for each in NOT_MEASURED:
        console.print(f"not measured: {each}", highlight=False)


def _ledger_table(ledger: Sequence[LedgerCost]) -> Table:
    names = ("database", "frames per range", "rows per frame", "plan", "claim", "finish", "together")
    table = Table(*names, title="The ledger by itself: milliseconds per frame, one transaction after another")
    for each in ledger:
        spent = (each.plan_ms, each.claim_ms, each.finish_ms, each.total_ms)
        table.add_row(
            each.database,
            str(each.frames_per_range),
            f"{each.rows_per_frame:.3f}",
            *(f"{milliseconds:.3f}" for milliseconds in spent),
        )
    return table


def _runs_table(runs: Sequence[Run]) -> Table:
    names = ("setting", "cost of a call", "frames", "frames/s", "model alone", "share", "bare loop", "share")
    table = Table(*names, title=f"Kafka to verdicts; target: {BARE_LOOP_SHARE} of the bare loop")
    for run in runs:
        ideal = "" if run.ideal_frames_per_s is None else f"{run.ideal_frames_per_s:.0f}"
        table.add_row(
            run.setting.name,
            f"{run.setting.cost.seconds(CALL) * 1000:g} ms",
            str(run.frames),
            str(run.frames_per_s),
            ideal,
            _share(run.of_ideal),
            str(run.bare_loop_frames_per_s or ""),
            _share(run.of_bare_loop),
        )
    return table


def _naive_table(naive: Sequence[Naive]) -> Table:
    names = ("cost", "frames", "naive frames/s", "Triadline frames/s", "times")
    table = Table(*names, title=f"One Celery task per frame, one worker each; target: {NAIVE_TIMES:g} times")
    for each in naive:
        table.add_row(
            each.cost,
            str(each.frames),
            str(each.frames_per_s),
            f"{each.triadline_frames_per_s:.3g}",
            f"{each.times:.2f}",
        )
    return table


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    interruptible(main)
