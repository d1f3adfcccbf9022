"""From a folder of normal frames to the first verdict, by a person's two commands in fresh processes.

    python -m benchmarks.first_verdict [--normals 16] [--runs 3] [--line woven-fabric]
        [--data ../shared/data/magnetic-tile] [--json OUT]

Times `triad products add NAME --normal FOLDER`, then `triad inspect FRAME --product NAME`, each time in a
new home folder: until the verdict's own time in the database, and until the second command ends with
rationale and page. The frame is defective, so it gets both. Prints medians with the least and the most.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Spread, circumstances
from pipelines.learn.datasets import read_mvtec_layout
from pipelines.learn.evaluation import NORMAL
from pipelines.learn.simulator import EVALUATION_SEED, simulated_lines

TILES = Path("..", "shared", "data", "magnetic-tile")
STAGES = (
    "add: start and load",
    "add: read, fit, calibrate, store",
    "add: end",
    "inspect: start and load",
    "inspect: verdict",
    "to the first verdict",
    "inspect: rationale, page, end",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What a person has at hand: a folder of normal frames, and a frame to ask about."""

    name: str
    normals: Path
    frame: Path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--normals", type=int, default=16)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--line", default="woven-fabric", choices=sorted(simulated_lines()))
    parser.add_argument("--data", type=Path, default=TILES, help="a product in MVTec layout")
    parser.add_argument("--json", type=Path, help="also write everything here")
    arguments = parser.parse_args()
    report: dict[str, object] = {"circumstances": circumstances({}), "normals": arguments.normals}
    with tempfile.TemporaryDirectory() as scratch:
        for beginning in beginnings(Path(scratch), arguments):
            runs = [run(beginning, Path(scratch)) for _ in range(arguments.runs)]
            report[beginning.name] = {stage: seconds_of(runs, stage) for stage in STAGES}
            for stage in STAGES:
                print(f"{beginning.name}  {stage}: {Spread.of([each[stage] for each in runs])} s", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1))


def seconds_of(runs: Sequence[Mapping[str, float]], stage: str) -> list[float]:
    return [round(each[stage], 3) for each in runs]


def beginnings(scratch: Path, arguments: argparse.Namespace) -> Iterator[Beginning]:
    yield simulated(scratch, arguments.line, arguments.normals)
    if arguments.data.is_dir():
        yield tiles(scratch, arguments.data, arguments.normals)
    else:
        print(f"magnetic tiles not measured: {arguments.data} is not there", file=sys.stderr)


def simulated(scratch: Path, name: str, normals: int) -> Beginning:
    from workers.simulated_frames import as_png

    line, folder = simulated_lines()[name], scratch / name
    folder.mkdir()
    for seed in range(EVALUATION_SEED, EVALUATION_SEED + normals):
        (folder / f"{seed}.png").write_bytes(as_png(line.frame(seed)))
    frame = scratch / f"{name}.png"
    defect = line.knowledge.defects[0].id
    frame.write_bytes(as_png(line.frame(EVALUATION_SEED + 1_000, defects=[defect])))
    return Beginning(name=name, normals=folder, frame=frame)


def tiles(scratch: Path, data: Path, normals: int) -> Beginning:
    (product,) = read_mvtec_layout(data).products
    folder = scratch / product.name
    folder.mkdir()
    for place in range(normals):
        file = product.train[place * len(product.train) // normals]
        shutil.copy(file, folder / file.name)
    frame = next(each.file for each in product.test if each.label != NORMAL)
    return Beginning(name=product.name, normals=folder, frame=frame)


def run(beginning: Beginning, scratch: Path) -> dict[str, float]:
    """Both commands in a new home folder; seconds by stage."""
    with tempfile.TemporaryDirectory(dir=scratch) as home:
        add = command(home, "products", "add", "thing", "--normal", beginning.normals)
        look = command(home, "inspect", beginning.frame, "--product", "thing")
        decided = first_verdict_at(Path(home))
    return {
        "add: start and load": add["fit began"] - add["began"],
        "add: read, fit, calibrate, store": add["fit ended"] - add["fit began"],
        "add: end": add["ended"] - add["fit ended"],
        "inspect: start and load": look["run began"] - look["began"],
        "inspect: verdict": decided - look["run began"],
        "to the first verdict": add["ended"] - add["began"] + decided - look["began"],
        "inspect: rationale, page, end": look["ended"] - decided,
    }


def command(home: str, *arguments: str | Path) -> dict[str, float]:
    """Run one `triad` command; when it and its stages began and ended."""
    marks = Path(home, "marks.json")
    program = [sys.executable, "-m", "benchmarks.marked_triad", str(marks), "--home", home]
    began = time.time()
    done = subprocess.run([*program, *map(str, arguments)], capture_output=True, text=True, check=False)
    ended = time.time()
    if done.returncode:
        raise SystemExit(f"triad {' '.join(map(str, arguments))} ended with {done.returncode}: {done.stderr}")
    return {"began": began, "ended": ended, **json.loads(marks.read_text())}


def first_verdict_at(home: Path) -> float:
    from storage.database import open_database, reading
    from storage.verdict_queries import VerdictFilter, iterate_verdicts
    from workers.settings import load_settings

    engine = open_database(load_settings(flags={"home": home}, environment={}).settings.database)
    try:
        with reading(engine) as connection:
            return min(each.decided_at.timestamp() for each in iterate_verdicts(connection, VerdictFilter()))
    finally:
        engine.dispose()


if __name__ == "__main__":
    main()
