"""`triad`, with models that need no weights and a place to die at: PLACE[:COUNT] is the first argument.

Run as a program by the fault tests; everything after the first argument is `triad`'s own.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import storage.outbox
import workers.inspect_range
import workers.manifest_scan
import workers.planner
import workers.reason_range
import workers.wiring
from tests.fake_models import FakeModels
from workers.cli import main

SLOW_S = 0.15


def die(owner: object, function: str, *, at_call: int) -> None:
    """Have a module's or class's function kill the process, as the kernel would, at this call of it."""
    setattr(owner, function, dying(getattr(owner, function), at_call=at_call))


def dying(real: Callable[..., Any], *, at_call: int) -> Callable[..., Any]:
    """The function, until its ``at_call``-th call, before which this process is killed as by the kernel."""
    calls = 0

    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at_call:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)

    return call


def nothing(*_: object) -> None:
    pass


def slowly(*_: object) -> None:
    time.sleep(SLOW_S)


def prepare(place: str, count: int) -> None:
    models = FakeModels()
    match place:
        case "never":
            pass
        case "slow":
            models = FakeModels(before_inspect=slowly, before_explain=slowly)
        case "entering files":
            die(workers.manifest_scan, "append_files", at_call=count)
        case "planning":
            die(workers.planner.Planner, "plan_once", at_call=count)
        case "inspecting":
            models = FakeModels(before_inspect=dying(nothing, at_call=count))
        case "writing verdicts":
            die(workers.inspect_range, "finish", at_call=count)
        case "explaining":
            models = FakeModels(before_explain=dying(nothing, at_call=count))
        case "writing amendments":
            die(workers.reason_range, "finish", at_call=count)
        case "publishing":
            die(storage.outbox, "mark_published", at_call=count)
        case _:
            raise ValueError(place)
    setattr(workers.wiring, "load_models", lambda stores: models)  # noqa: B010 -- a fake, whatever its type


if __name__ == "__main__":
    place, _, count = sys.argv.pop(1).partition(":")
    prepare(place, int(count or 1))
    main()
