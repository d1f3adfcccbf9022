"""A RabbitMQ of our own: the distribution's, in a folder of its own, on free ports."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services import missing

_START_S = 60.0
_INSTALLED = Path("/usr/lib/rabbitmq/lib")


@contextmanager
def rabbit_server() -> Iterator[str]:
    """The URL of a running server; it and its files go at the end."""
    found = sorted(_INSTALLED.glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    if not found:
        missing("RabbitMQ", remedy="make services, or install the package rabbitmq-server")
    folder = Path(tempfile.mkdtemp(prefix="triadline-rabbit-"))
    port, distribution_port, names_port = (_free_port() for _ in range(3))
    (folder / "plugins").write_text("[].")
    environment = {
        **os.environ,
        "HOME": str(folder),
        "RABBITMQ_NODENAME": f"triadline{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution_port),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(names_port),  # Erlang's directory of nodes outlives them: one of our own
    }
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            [str(found[-1])], env=environment, stdout=out, stderr=out, start_new_session=True
        )
    try:
        _wait_for(port, process)
        yield f"amqp://guest:guest@127.0.0.1:{port}//"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        _end_directory(names_port)
        shutil.rmtree(folder, ignore_errors=True)


def _end_directory(port: int) -> None:
    """It refuses until it has seen that its last node is gone."""
    until = time.monotonic() + 10
    command = ["epmd", "-port", str(port), "-kill"]
    while b"Killed" not in subprocess.run(command, capture_output=True, check=False).stdout:
        assert time.monotonic() < until, "epmd did not end"
        time.sleep(0.1)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        assert process.poll() is None, "RabbitMQ ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError("RabbitMQ did not start")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
