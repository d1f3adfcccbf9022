"""`triad`, with models that need no weights, and with whatever is to go wrong: the first argument says what.

WORD[:NUMBER],... as in ``taking:0.1,poison,after claim:2``. Run as a program by the fault tests; everything
after the first argument is `triad`'s own.
"""

import datetime
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
    real_time, real = time.time, datetime.datetime
    setattr(time, "time", lambda: real_time() + seconds)  # noqa: B010 -- a fake

    class _IsReal(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, real)

    class Moved(real, metaclass=_IsReal):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return real.now(tz) + datetime.timedelta(seconds=seconds)

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


def prepare(faults: str) -> None:
    """Put the fakes in their places, and the faults."""
    before_inspect: list[Call] = []
    before_explain: list[Call] = []
    for word in faults.split(","):
        fault, _, number = word.partition(":")
        match fault:
            case "never":
                pass
            case "slow":
                before_inspect.append(lambda *_: time.sleep(SLOW_S))
                before_explain.append(lambda *_: time.sleep(SLOW_S))
            case "taking":
                seconds = float(number)
                before_inspect.append(lambda *_, seconds=seconds: time.sleep(seconds))
                before_explain.append(lambda *_, seconds=seconds: time.sleep(seconds))
            case "inspecting":
                before_inspect.append(dying(nothing, at_call=int(number or 1)))
            case "explaining":
                before_explain.append(dying(nothing, at_call=int(number or 1)))
            case "hanging":
                before_inspect.append(hanging(nothing, at_call=int(number or 1)))
            case "poison":
                before_inspect.append(poisoned)
            case "clock":
                move_clock(float(number))
            case "ringing":
                ring_often(int(number))
            case _:
                owner, name = PLACES[fault]
                setattr(owner, name, dying(getattr(owner, name), at_call=int(number or 1)))

    def all_of(them: list[Call]) -> Callable[[Any], None]:
        return lambda items: [each(items) for each in them] and None

    models = FakeModels(before_inspect=all_of(before_inspect), before_explain=all_of(before_explain))
    setattr(workers.wiring, "load_models", lambda *_: models)  # noqa: B010 -- a fake, whatever its type
    processes = sys.modules.get("workers.processes")
    if processes is not None:
        setattr(processes, "load_models", lambda *_: models)  # noqa: B010


if __name__ == "__main__":
    prepare(sys.argv.pop(1))
    main()
