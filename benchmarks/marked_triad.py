"""`triad` as a person starts it, with a note of when its stages began and ended.

    python -m benchmarks.marked_triad MARKS ARGUMENT…

Writes JSON to MARKS: by the name of what began or ended, seconds since the epoch and the processor time that
this process had taken by then. Of what happens several times the first one counts.
"""

import functools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main() -> None:
    file = Path(sys.argv.pop(1))
    marks: dict[str, tuple[float, float]] = {}
    from workers import cli
    from workers.embedded import EmbeddedSystem
    from workers.inspect_range import InspectDesk
    from workers.products import ProductShelf

    def mark(name: str) -> None:
        marks.setdefault(name, (time.time(), time.process_time()))

    def marked(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(work)
        def marking(*arguments: Any, **named: Any) -> Any:
            mark(f"{name} began")
            try:
                return work(*arguments, **named)
            finally:
                mark(f"{name} ended")

        return marking

    for owner, method, name in (
        (ProductShelf, "add", "fit"),
        (EmbeddedSystem, "run_until_done", "run"),
        (InspectDesk, "_write", "verdict"),
    ):
        setattr(owner, method, marked(name, getattr(owner, method)))
    try:
        cli.main()
    finally:
        file.write_text(json.dumps(marks))


if __name__ == "__main__":
    main()
