"""`triad` as a person starts it, with a note of when its stages began and ended.

    python -m benchmarks.marked_triad MARKS ARGUMENT…

Writes JSON to MARKS: seconds since the epoch, by the name of what began or ended.
"""

import functools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main() -> None:
    file, marks = Path(sys.argv.pop(1)), {}
    from workers import cli
    from workers.embedded import EmbeddedSystem
    from workers.products import ProductShelf

    def marked(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(work)
        def timed(*arguments: Any, **named: Any) -> Any:
            marks[f"{name} began"] = time.time()
            try:
                return work(*arguments, **named)
            finally:
                marks[f"{name} ended"] = time.time()

        return timed

    ProductShelf.add = marked("fit", ProductShelf.add)  # type: ignore[method-assign]
    EmbeddedSystem.run_until_done = marked("run", EmbeddedSystem.run_until_done)  # type: ignore[method-assign]
    try:
        cli.main()
    finally:
        file.write_text(json.dumps(marks))


if __name__ == "__main__":
    main()
