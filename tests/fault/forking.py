"""Processes of `triad_with_fakes` that start in a blink: forked from one that has imported everything.

Run as a program it is that one. Each connection to its socket asks for one process and is told its number,
and later how it ended. When the program that started it is gone, so are it and all its processes.
"""

import ctypes
import faulthandler
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_LOOKS_EVERY_S = 0.02
_START_S = 60.0
_PR_SET_PDEATHSIG = 1
# All that a process would import on its way; nothing of it begins a thread or opens a connection.
_IMPORTED = (
    "celery.app.amqp",
    "celery.worker.consumer",
    "kafka.admin",
    "kafka.net.compat",
    "kombu.transport.redis",
    "redis",
    "sqlalchemy.dialects.postgresql.psycopg",
    "workers.health",
    "workers.kafka_log",
    "workers.kafka_sink",
    "workers.processes",
)


@dataclass(slots=True, kw_only=True)
class Program:
    """One process of ours; ``code`` as of `subprocess`: minus the signal's number where one ended it."""

    name: str
    pid: int
    log: Path
    asked: socket.socket
    code: int | None = None

    @property
    def is_running(self) -> bool:
        if self.code is None and select.select([self.asked], [], [], 0)[0]:
            told = self.asked.recv(64).split()
            self.code = int(told[0]) if told else -int(signal.SIGKILL)
            self.asked.close()
        return self.code is None

    def send(self, number: signal.Signals) -> None:
        if self.is_running:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """As by the kernel, and gone when this returns."""
        self.send(signal.SIGKILL)
        self.wait(10)

    def ask_to_end(self) -> None:
        self.send(signal.SIGTERM)

    def pause(self) -> None:
        self.send(signal.SIGSTOP)

    def go_on(self) -> None:
        self.send(signal.SIGCONT)

    def end_at_once(self) -> None:
        """Killed, paused or not; whoever wants to know when waits."""
        self.send(signal.SIGKILL)

    def wait(self, within_s: float) -> int:
        """Its exit code."""
        until = time.monotonic() + within_s
        while self.is_running:
            assert time.monotonic() < until, f"{self.name} did not end in {within_s} s: {self.said()[-2000:]}"
            time.sleep(_LOOKS_EVERY_S / 2)
        assert self.code is not None
        return self.code

    def said(self) -> str:
        return self.log.read_text(errors="replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Starter:
    """Asks for processes."""

    place: Path

    def start(
        self, name: str, faults: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> Program:
        asked = socket.socket(socket.AF_UNIX)
        asked.connect(str(self.place))
        wanted = {
            "arguments": [faults, *arguments],
            "environment": dict(environment),
            "log": str(log),
        }
        asked.sendall(json.dumps(wanted).encode() + b"\n")
        asked.settimeout(10)
        pid = int(asked.recv(64))
        asked.settimeout(None)
        return Program(name=name, pid=pid, log=log, asked=asked)


@contextmanager
def starter(folder: Path) -> Iterator[Starter]:
    place = folder / "starter"
    log = folder / "starter.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, __file__, str(place)],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder)},
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
        )
    until = time.monotonic() + _START_S
    while not place.exists():
        if process.poll() is not None or time.monotonic() > until:
            process.kill()
            process.wait()
            raise RuntimeError(f"nothing to fork from: {log.read_text()[-2000:]}")
        time.sleep(0.05)
    try:
        yield Starter(place=place)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=10)


def serve(place: Path) -> dict[str, Any] | None:
    """Fork on demand. Returns in each child, with what it is to do; in the parent, when it is over: None."""
    listener = socket.socket(socket.AF_UNIX)
    new = place.with_suffix(".new")
    listener.bind(str(new))
    listener.listen(64)
    new.rename(place)
    begun: dict[int, socket.socket] = {}
    while True:
        came, _, _ = select.select([listener, sys.stdin], [], [], _LOOKS_EVERY_S)
        if sys.stdin in came:  # nothing is ever written there: whoever started us is gone
            for pid in begun:
                os.kill(pid, signal.SIGKILL)
            return None
        if listener in came:
            connection, _ = listener.accept()
            wanted: dict[str, Any] = json.loads(connection.makefile("rb").readline())
            pid = os.fork()
            if pid == 0:
                for each in (listener, connection, *begun.values()):
                    each.close()
                return wanted
            begun[pid] = connection
            connection.sendall(f"{pid}\n".encode())
        for pid in tuple(begun):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                _tell(begun.pop(pid), os.waitstatus_to_exitcode(status))


def _tell(connection: socket.socket, code: int) -> None:
    with suppress(OSError):  # whoever asked no longer cares
        connection.sendall(f"{code}\n".encode())
    connection.close()


def become(wanted: Mapping[str, Any]) -> None:
    """Turn this fork into the process that was asked for."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ.clear()
    os.environ.update(wanted["environment"])
    nowhere = os.open(os.devnull, os.O_RDONLY)
    log = os.open(wanted["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for source, target in ((nowhere, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    sys.argv = ["triad", *wanted["arguments"]]
    faulthandler.register(signal.SIGUSR1, all_threads=True)


def run() -> None:
    for module in _IMPORTED:
        importlib.import_module(module)
    from tests.fault.triad_with_fakes import prepare
    from workers.cli import main

    wanted = serve(Path(sys.argv[1]))
    if wanted is None:
        return
    become(wanted)
    prepare(sys.argv.pop(1))
    main()


if __name__ == "__main__":
    run()
