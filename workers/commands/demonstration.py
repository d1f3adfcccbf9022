"""``triad demo``: real inspection of simulated lines, against the simulator's own truth."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import platformdirs
import typer

from workers.commands.context import Flags, loaded_settings
from workers.commands.inspecting import COUNT_COLUMNS, count_cells
from workers.exit_codes import EXIT_NOT_ALL_INSPECTED
from workers.terminal import bars, print_json, print_table, say

if TYPE_CHECKING:
    from console.report_values import CountRow, Truth
    from workers.embedded import EmbeddedSystem
    from workers.run_outcome import RunOutcome

NORMALS_PER_LINE = 40

_HONEST = (
    "The bundled models were trained on simulated surfaces only. Outside the products they know they name "
    "no defect and no process step."
)


def demo(
    context: typer.Context,
    frames: Annotated[int, typer.Option(min=1, max=2000, help="Frames per line.")] = 40,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Inspect frames of five simulated product lines and write a page to look at.

    Everything is kept under TRIAD_HOME where that is set, else in a folder of the demo's own. A second
    demo finds its frames inspected and only writes the page again.

    Example: triad demo
    """
    from workers.demo_lines import prepare_lines
    from workers.embedded import EmbeddedSystem, require_embedded
    from workers.manifest_scan import scan
    from workers.run_outcome import outcome_of
    from workers.run_report import count_rows
    from workers.wiring import load_models

    began = time.monotonic()
    _use_own_folder(context)
    settings = loaded_settings(context).settings
    require_embedded(settings)
    with EmbeddedSystem(settings) as system, bars() as progress:
        models = load_models(system.stores)
        demo = prepare_lines(
            system.stores, models, frames=frames, normals=NORMALS_PER_LINE, progress=progress
        )
        found = scan(
            system.stores.log,
            [file for line in demo.lines for file in line.frames],
            product=lambda file: file.parent.parent.name,
            inspects_again=demo.is_learned_anew,
        )
        system.run_until_done(models, progress)
        run = outcome_of(system.stores, found.offsets)
        truths = {name: truth for line in demo.lines for name, truth in line.truths.items()}
        rows = count_rows(run, truths)
        page = _write_page(system, run, truths)
    _tell(rows, page, system, time.monotonic() - began, as_json=as_json)
    if not run.is_all_inspected:
        raise typer.Exit(EXIT_NOT_ALL_INSPECTED)


def _use_own_folder(context: typer.Context) -> None:
    """The demo's products do not belong among a plant's own, unless somebody says where to put them."""
    flags = context.find_object(Flags)
    assert flags is not None
    if flags.home is None and not os.environ.get("TRIAD_HOME"):
        context.obj = Flags(home=platformdirs.user_data_path("triadline-demo"), log_level=flags.log_level)


def _write_page(system: EmbeddedSystem, run: RunOutcome, truths: Mapping[str, Truth]) -> Path:
    from workers.run_report import PageWords, write_run_report

    words = PageWords(
        title="Triadline demo",
        subtitle="Simulated lines, inspected by the bundled models and compared with the simulator's truth",
        notes=(_HONEST,),
        commands=_commands(system.stores.settings.home),
        truths=truths,
    )
    return write_run_report(system.stores, run, words, system.stores.reports / "demo.html")


def _commands(home: Path) -> tuple[str, ...]:
    """What to type next, as it must be typed in this shell."""
    is_set = os.environ.get("TRIAD_HOME") and Path(os.environ["TRIAD_HOME"]).absolute() == home
    triad = "triad" if is_set else f"triad --home {shlex.quote(str(home))}"
    return (
        f"{triad} verdicts list --outcome fail",
        f"{triad} verdicts export verdicts.csv",
        f"{triad} audit",
        "triad inspect FOLDER",
    )


def _tell(
    rows: Sequence[CountRow], page: Path, system: EmbeddedSystem, seconds: float, *, as_json: bool
) -> None:
    commands = _commands(system.stores.settings.home)
    if as_json:
        items = [{**asdict(row), "frames": row.frames} for row in rows]
        body = {"items": items, "next": None, "page": str(page), "commands": commands}
        print_json(body | {"seconds": round(seconds, 1)})
        return
    columns = (*COUNT_COLUMNS, "defective", "overkill", "escapes")
    cells = [
        (*count_cells(row), *((t.defective, t.overkill, t.escapes) if (t := row.truth) else ("", "", "")))
        for row in rows
    ]
    print_table(columns, cells, right=columns[2:])
    say(
        f"{sum(row.frames for row in rows)} frames, {seconds:.0f} s "
        "(overkill: normal and not passed; escape: defective and passed)"
    )
    say(f"page: {page}")
    say("look around:")
    for command in commands:
        say(f"  {command}")
