"""What a person sees: data on stdout, everything else on stderr, and bars only where somebody watches."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text


def print_json(body: object) -> None:
    """One document on stdout, complete or not at all."""
    sys.stdout.buffer.write(orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    sys.stdout.flush()


def print_items(items: Sequence[object], *, next_cursor: str | None = None) -> None:
    """A list in the shape that the API will give."""
    print_json({"items": items, "next": next_cursor})


def say(sentence: str) -> None:
    """Something for the person that is not data."""
    sys.stderr.write(plain(sentence) + "\n")


def plain(text: str) -> str:
    """Text from outside on one line and without control characters: it cannot redraw a terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = ()
) -> None:
    """Aligned columns on stdout; ``right`` names those of numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        # As Text, never as markup: a file may be called "[red]".
        table.add_row(*(Text(plain("" if cell is None else str(cell))) for cell in row))
    console(sys.stdout).print(table)


def console(stream: IO[str]) -> Console:
    """Rich on this stream; wide enough not to fold when nobody watches. It heeds NO_COLOR."""
    width = None if stream.isatty() or "COLUMNS" in os.environ else 200
    return Console(file=stream, highlight=False, width=width, soft_wrap=False)


@dataclass(slots=True)
class Bars:
    """Progress of named stages; the same stage named again moves its bar."""

    progress: Progress
    tasks: dict[str, TaskID] = field(default_factory=dict)

    def __call__(self, what: str, done: int, of: int) -> None:
        if what not in self.tasks:
            self.tasks[what] = self.progress.add_task(what, total=of)
        self.progress.update(self.tasks[what], completed=done, total=of)


@contextmanager
def bars() -> Iterator[Bars]:
    """Bars on stderr, and silence where it is no terminal."""
    stream = console(sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=stream, disable=not stream.is_terminal, transient=False) as progress:
        yield Bars(progress)


def counts_line(counts: Mapping[str, int]) -> str:
    """ "3 pass, 1 review": what is zero is not mentioned."""
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing"
