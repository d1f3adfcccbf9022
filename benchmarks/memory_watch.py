"""Looks at memory and cores of processes, this one among them, once a second until the block ends."""

import os
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from benchmarks.figures import Sample, cpu_seconds, resident_bytes

EVERY_S = 1.0


class MemoryWatch:
    """``samples`` of memory by the names that the processes were given; complete once the block has ended.

    ``cpu_s`` is what each took of all cores between the first look at it and the last.
    """

    def __init__(self, processes: Mapping[str, int], *, every_s: float = EVERY_S) -> None:
        self._processes = {**processes, "producer (this process)": os.getpid()}
        self._every_s = every_s
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="memory", daemon=True)
        self.samples: dict[str, list[Sample]] = {name: [] for name in self._processes}
        self.cpu_s: dict[str, float] = {}
        self._cpu_before: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def _look(self) -> None:
        while True:
            now = time.monotonic()
            for name, pid in self._processes.items():
                resident = resident_bytes(pid)
                if resident is not None:
                    self.samples[name].append(Sample(at_s=now, resident_bytes=resident))
                taken = cpu_seconds(pid)
                if taken is not None:
                    self.cpu_s[name] = taken - self._cpu_before.setdefault(name, taken)
            if self._is_over.wait(self._every_s):
                return
