"""The command line: ``triad``. Data goes to standard output, everything else to standard error."""

import importlib.metadata
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from pipelines.errors import InputRefused, StageUnavailable
from workers.commands import (
    auditing,
    configuration,
    demonstration,
    evaluating,
    golden,
    inspecting,
    lines,
    producing,
    products,
    recipes,
    replaying,
    retention,
    reviewing,
    serving,
    training,
)
from workers.commands import verdicts as verdict_commands
from workers.commands.context import Flags, Interrupted
from workers.exit_codes import EXIT_REFUSED, EXIT_UNAVAILABLE
from workers.log_lines import log_to_stderr
from workers.terminal import say

EPILOG = (
    "Exit codes: 0 done · 2 usage · 3 done, but some frames were not inspected, or not sent (dead letters, "
    "lost files) · 4 the audit found a hole or a double · 5 input refused · 6 a service is unavailable · "
    "7 a golden part was answered otherwise than expected."
)

app = typer.Typer(
    name="triad",
    help="Industrial visual inspection: a fast verdict per frame, a reason, nothing lost.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("demo")(demonstration.demo)
app.command("inspect")(inspecting.inspect)
app.command("produce")(producing.produce)
app.command("planner")(serving.planner)
app.command("worker")(serving.worker)
app.command("publisher")(serving.publisher)
app.command("migrate")(serving.migrate)
app.command("replay")(replaying.replay)
app.command("audit")(auditing.audit)
app.command("review")(reviewing.review)
app.command("evaluate")(evaluating.evaluate)
app.command("retention")(retention.retention)
app.command("train")(training.train)
app.add_typer(products.app, name="products")
products.app.command("learn")(recipes.learn)
products.app.command("refine")(recipes.refine)
products.app.command("use")(recipes.use)
products.app.command("recipes")(recipes.recipes)
app.add_typer(lines.app, name="lines")
app.add_typer(golden.app, name="golden")
app.add_typer(serving.topics_app, name="topics")
app.add_typer(verdict_commands.app, name="verdicts")
app.add_typer(configuration.app, name="config")


def _print_version(is_asked: bool) -> None:
    if is_asked:
        sys.stdout.write(f"triadline {importlib.metadata.version('triadline')}\n")
        raise typer.Exit


@app.callback()
def triad(
    context: typer.Context,
    home: Annotated[
        Path | None, typer.Option(help="Where everything is kept, instead of TRIAD_HOME.")
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colour, as with NO_COLOR set.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end."),
    ] = False,
) -> None:
    """Frames in, verdicts out."""
    if no_color:
        os.environ["NO_COLOR"] = "1"
    context.obj = Flags(home=home, log_level=log_level)


def main() -> None:
    """Run one command; an error made on purpose is one line that says what to do, never a stack trace."""
    log_to_stderr("warning")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        app()
    except InputRefused as refusal:
        say(f"triad: {refusal}")
        sys.exit(EXIT_REFUSED)
    except StageUnavailable as outage:
        say(f"triad: unavailable: {outage}")
        sys.exit(EXIT_UNAVAILABLE)
    except Interrupted as interrupted:
        say("triad: stopped; what is done is kept, and the same command goes on from here")
        sys.exit(128 + interrupted.number)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """The first signal ends the command in good order; a second one ends the process as signals do."""
    signal.signal(number, signal.SIG_DFL)
    raise Interrupted(number)
