"""`triad`, with models that need no weights, and with whatever is to go wrong: the first argument says what.

WORD[:NUMBER],... as in ``taking:0.1,poison,after claim:2``. Run as a program by the fault tests; everything
after the first argument is `triad`'s own.
"""

import datetime as dt
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import storage.outbox
import workers.inspect_range
import workers.manifest_scan
import workers.planner
import workers.range_duration
import workers.reading_ahead
import workers.reason_range
import workers.tasks
import workers.wiring
from pipelines.frame import Frame
from tests.fake_models import FakeModels
from tests.plates import MARK_AT
from workers.cli import main

SLOW_S = 0.15
RAISES, KILLS = 3, 7  # marks of frames that do this to whoever inspects them, where there is ``poison``

Call = Callable[..., Any]

# Before which function's NUMBER-th call the process dies.
PLACES: dict[str, tuple[object, str]] = {
    "entering files": (workers.manifest_scan, "append_files"),
    "planning": (workers.planner.Planner, "plan_once"),
    "after claim": (workers.inspect_range, "load_set"),
    "after fetch": (workers.reading_ahead, "admit"),
    "mid-batch": (workers.inspect_range, "verdict_row"),
    "writing verdicts": (workers.inspect_range, "finish"),
    "after commit": (workers.range_duration.RangeDuration, "note"),
    "writing amendments": (workers.reason_range, "finish"),
    "publishing": (storage.outbox, "mark_published"),
}


def dying(real: Call, *, at_call: int) -> Call:
    """The function, until its ``at_call``-th call, before which this process is killed as by the kernel."""
    return _from_call(at_call, _kill_this, real)


def hanging(real: Call, *, at_call: int) -> Call:
    """The same as a device hangs: the call never returns, and nothing is told."""
    return _from_call(at_call, lambda: time.sleep(3600), real)


def _from_call(number: int, fault: Callable[[], object], real: Call) -> Call:
    calls = 0

    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            fault()
        return real(*arguments, **named)

    return call


def _kill_this() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def nothing(*_: object) -> None:
    pass


def poisoned(frames: Sequence[Frame]) -> None:
    marks = {int(frame.picture.pixels[MARK_AT]) for frame in frames}
    if KILLS in marks:
        _kill_this()
    if RAISES in marks:
        raise ArithmeticError("no model can bear this frame")


def move_clock(seconds: float) -> None:
    """Have all that is ours see another time of day, as on a machine without NTP."""
    real_time, real = time.time, dt.datetime
    setattr(time, "time", lambda: real_time() + seconds)  # noqa: B010 -- a fake

    class _IsReal(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, real)

    class Moved(dt.datetime, metaclass=_IsReal):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return real.now(tz) + dt.timedelta(seconds=seconds)

    for name, module in list(sys.modules.items()):
        is_ours = name.partition(".")[0] in ("pipelines", "storage", "workers")
        if is_ours and getattr(module, "datetime", None) is real:
            setattr(module, "datetime", Moved)  # noqa: B010 -- a fake


def ring_often(times: int) -> None:
    """Every task is sent this often, as a broker does that repeats itself."""
    real = workers.tasks.ring

    def ring(*arguments: Any, **how: Any) -> None:
        for _ in range(times):
            real(*arguments, **how)

    workers.tasks.ring = ring


def pausing(seconds: float) -> Call:
    return lambda *_: time.sleep(seconds)


# Before every call of the model that inspects, and of the one that reasons, by word; each is given NUMBER.
INSPECTING: dict[str, Callable[[str], Call]] = {
    "slow": lambda _: pausing(SLOW_S),
    "taking": lambda seconds: pausing(float(seconds)),
    "inspecting": lambda number: dying(nothing, at_call=int(number or 1)),
    "hanging": lambda number: hanging(nothing, at_call=int(number or 1)),
    "poison": lambda _: poisoned,
}
EXPLAINING: dict[str, Callable[[str], Call]] = {
    "slow": INSPECTING["slow"],
    "taking": INSPECTING["taking"],
    "explaining": INSPECTING["inspecting"],
}
WORLD: dict[str, Callable[[str], None]] = {
    "clock": lambda seconds: move_clock(float(seconds)),
    "ringing": lambda times: ring_often(int(times)),
}


def prepare(faults: str) -> None:
    """Put the fakes in their places, and the faults."""
    words = [(word, number) for word, _, number in (each.partition(":") for each in faults.split(","))]
    for word, number in words:
        assert word == "never" or word in {*INSPECTING, *EXPLAINING, *WORLD, *PLACES}, word
        if word in WORLD:
            WORLD[word](number)
        if word in PLACES:
            owner, name = PLACES[word]
            setattr(owner, name, dying(getattr(owner, name), at_call=int(number or 1)))
    models = FakeModels(
        before_inspect=one_after_another(
            [INSPECTING[word](number) for word, number in words if word in INSPECTING]
        ),
        before_explain=one_after_another(
            [EXPLAINING[word](number) for word, number in words if word in EXPLAINING]
        ),
    )
    for module in ("workers.wiring", "workers.processes"):
        if module in sys.modules:
            setattr(sys.modules[module], "load_models", lambda *_: models)  # noqa: B010 -- a fake, whatever its type


def one_after_another(calls: Sequence[Call]) -> Call:
    def call(items: object) -> None:
        for each in calls:
            each(items)

    return call


if __name__ == "__main__":
    import workers.processes

    prepare(sys.argv.pop(1))
    main()
