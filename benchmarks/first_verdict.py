"""From a folder of normal frames to the first verdict, by a person's two commands in fresh processes.

    python -m benchmarks.first_verdict [--normals 16] [--runs 3] [--line woven-fabric]
        [--data ../shared/data/magnetic-tile] [--json OUT]

Times `triad products add NAME --normal FOLDER`, then `triad inspect FRAME --product NAME`, each time in a
new home folder: until the verdict is in the database, and until the second command ends with rationale and
page. The frame is defective, so it gets both. Prints medians with the least and the most, by the wall and in
processor time, which other work on the machine hardly changes.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Spread, circumstances
from pipelines.learn.datasets import read_mvtec_layout
from pipelines.learn.evaluation import NORMAL
from pipelines.learn.simulator import EVALUATION_SEED, simulated_lines

TILES = Path("..", "shared", "data", "magnetic-tile")
# What each stage begins and ends with, in either command.
STAGES = {
    "add: start, load": (("add", "began"), ("add", "fit began")),
    "add: read, fit, calibrate, store": (("add", "fit began"), ("add", "fit ended")),
    "add: end": (("add", "fit ended"), ("add", "ended")),
    "inspect: start, load": (("inspect", "began"), ("inspect", "run began")),
    "inspect: verdict": (("inspect", "run began"), ("inspect", "verdict ended")),
    "inspect: rationale, page, end": (("inspect", "verdict ended"), ("inspect", "ended")),
}
BEFORE_VERDICT = tuple(STAGES)[:-1]
TOTAL = "to the first verdict"

Marks = Mapping[str, tuple[float, float]]  # by the wall, and processor time


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
            report[beginning.name] = runs
            for stage in (*STAGES, TOTAL):
                wall, processor = (Spread.of([each[stage][clock] for each in runs]) for clock in (0, 1))
                print(f"{beginning.name}  {stage}: {wall} s, processor {processor} s", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1))


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


def run(beginning: Beginning, scratch: Path) -> dict[str, tuple[float, float]]:
    """Both commands in a new home folder; seconds by stage, by the wall and of the processor."""
    with tempfile.TemporaryDirectory(dir=scratch) as home:
        marks = {
            "add": command(home, "products", "add", "thing", "--normal", beginning.normals),
            "inspect": command(home, "inspect", beginning.frame, "--product", "thing"),
        }
    spent = {stage: between(marks, begin, end) for stage, (begin, end) in STAGES.items()}
    wall, processor = (sum(spent[stage][clock] for stage in BEFORE_VERDICT) for clock in (0, 1))
    return {**spent, TOTAL: (wall, processor)}


def between(marks: Mapping[str, Marks], begin: tuple[str, str], end: tuple[str, str]) -> tuple[float, float]:
    first, last = marks[begin[0]][begin[1]], marks[end[0]][end[1]]
    return round(last[0] - first[0], 3), round(last[1] - first[1], 3)


def command(home: str, *arguments: str | Path) -> Marks:
    """Run one `triad` command; when it and its stages began and ended."""
    file = Path(home, "marks.json")
    program = [sys.executable, "-m", "benchmarks.marked_triad", str(file), "--home", home]
    began, before = time.time(), children_s()
    done = subprocess.run([*program, *map(str, arguments)], capture_output=True, text=True, check=False)
    ended, after = time.time(), children_s()
    if done.returncode:
        raise SystemExit(f"triad {' '.join(map(str, arguments))} ended with {done.returncode}: {done.stderr}")
    return {**json.loads(file.read_text()), "began": (began, 0.0), "ended": (ended, after - before)}


def children_s() -> float:
    """Processor time of all processes that this one has waited for, their last breath included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
