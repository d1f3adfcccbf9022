"""What the benchmarks of the distributed system run on: real services, and processes that surely end.

Everything listens on loopback ports of its own and lies in a folder that is gone at the end.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from sqlalchemy import Engine, func, select, text

from benchmarks.stand_in import Cost, stand_in_recipe
from storage.database import open_database, reading, transaction
from storage.outbox import unpublished_count
from storage.recipes import save_recipe, set_current
from storage.schema import BatchKind, BatchState, batch, plan_cursor
from tests.brokers import RealBroker, real_broker
from tests.databases import fresh_postgres, make_template, postgres_server
from workers.rebatching import CallSize
from workers.settings import Settings

ROOT = Path(__file__).parents[1]
READY_S = 90.0
END_S = 45.0
LOOKS_EVERY_S = 0.02
CALL = CallSize().frames


@dataclass(slots=True)
class Child:
    """One process of ours, with its log in a file."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    port: int = 0  # of its health, if it serves any

    def end(self, within_s: float = END_S) -> None:
        """Ask it to end, and see that it does."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @contextmanager
    def held_still(self) -> Iterator[None]:
        """Stopped where it stands, and let go again."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def require_running(self) -> None:
        if self.process.poll() is not None:
            said = self.log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}: {said}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """PostgreSQL, Redis and Kafka, running."""

    folder: Path
    postgres_url: str
    template: str  # a migrated database to copy
    redis: Child
    kafka: RealBroker

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.redis.port}"


@contextmanager
def services() -> Iterator[Services]:
    """Start them; whatever ends the block ends them too."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="triadline-bench-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        postgres_url = stack.enter_context(postgres_server())
        redis = _start_redis(folder)
        stack.callback(redis.end)
        kafka = stack.enter_context(real_broker())
        yield Services(
            folder=folder,
            postgres_url=postgres_url,
            template=make_template(postgres_url),
            redis=redis,
            kafka=kafka,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """From the first plan until nothing was open, by the database's clock; the model was called so often."""

    seconds: float
    calls: int


@dataclass(slots=True, kw_only=True)
class Installation:
    """One Triadline: a database, a topic and a home of its own on the shared services."""

    services: Services
    engine: Engine
    topic: str
    home: Path
    variables: Mapping[str, str] = field(default_factory=dict)  # beside those that say where things are
    children: list[Child] = field(default_factory=list)
    _last_batch: int = 0

    @property
    def settings(self) -> Settings:
        return self.services.kafka.settings(frames_topics=self.topic, home=self.home)

    @property
    def database_url(self) -> str:
        return self.engine.url.render_as_string(hide_password=False)

    def start(self, name: str, *command: str, cost: Cost | None = None) -> Child:
        """Start `triad COMMAND` with the stand-in; ``wait_ready`` waits for it."""
        port = _free_port()
        program = (sys.executable, "-m", "benchmarks.stand_in", str(cost or Cost()), *command)
        child = _start(name, program, self._environment(port), folder=self.home, port=port)
        self.children.append(child)
        return child

    def wait_ready(self) -> None:
        """Until every process says that it is ready."""
        for child in self.children:
            wait_until(lambda child=child: answers(child.port), READY_S, child)  # type: ignore[misc]

    def end(self) -> None:
        """Whoever makes work ends before whoever does it."""
        for child in self.children:
            if child.process.poll() is None:
                child.process.terminate()
        for child in self.children:
            child.end()

    def wait_inspected(self, frames: int, *, within_s: float) -> Finished:
        """Until so many frames were planned since the beginning, and all of them are done."""
        found: list[Finished] = []
        last = self._last_batch

        def is_done() -> bool:
            for child in self.children:
                child.require_running()
            with reading(self.engine) as connection:
                planned = connection.execute(
                    select(func.sum(plan_cursor.c.next_offset - plan_cursor.c.first_offset))
                ).scalar_one()
                if planned is None or int(planned) < frames:
                    return False
                frames_of = batch.c.end_offset - batch.c.first_offset
                began, still_open, calls, newest, now = connection.execute(
                    select(
                        func.min(batch.c.planned_at),
                        func.count().filter(batch.c.state.in_((BatchState.PLANNED, BatchState.LEASED))),
                        func.sum((frames_of + CALL - 1) / CALL).filter(batch.c.state == BatchState.DONE),
                        func.max(batch.c.id),
                        func.clock_timestamp(),
                    ).where(batch.c.kind == BatchKind.INSPECT, batch.c.id > last)
                ).one()
            if still_open == 0:
                self._last_batch = newest
                found.append(Finished(seconds=(now - began).total_seconds(), calls=int(calls)))
            return bool(found)

        wait_until(is_done, within_s)
        return found[0]

    def ends(self) -> dict[int, int]:
        """How far each partition of the topic is planned."""
        with reading(self.engine) as connection:
            rows = connection.execute(select(plan_cursor.c.partition, plan_cursor.c.next_offset))
            return {row.partition: row.next_offset for row in rows}

    def wait_published(self, *, within_s: float) -> None:
        """Until nothing waits in the outbox."""

        def is_done() -> bool:
            with reading(self.engine) as connection:
                return unpublished_count(connection, at_most=1) == 0

        wait_until(is_done, within_s)

    def _environment(self, port: int) -> dict[str, str]:
        return {
            "TRIAD_HOME": str(self.home),
            "TRIAD_DATABASE_URL": self.database_url,
            "TRIAD_BROKER_URL": f"{self.services.redis_url}/0",
            "TRIAD_KAFKA_SERVERS": self.services.kafka.servers,
            "TRIAD_FRAMES_TOPICS": self.topic,
            "TRIAD_HTTP_PORT": str(port),
            **self.variables,
        }


@contextmanager
def installation(
    on: Services, *, partitions: int, variables: Mapping[str, str] | None = None
) -> Iterator[Installation]:
    """Set up with the stand-in's product; its processes end before its database goes."""
    home = Path(tempfile.mkdtemp(prefix="home-", dir=on.folder))
    with fresh_postgres(on.postgres_url, template=on.template) as engine:
        with transaction(engine) as connection:
            recipe = stand_in_recipe()
            set_current(connection, recipe.product, save_recipe(connection, recipe))
        made = Installation(
            services=on,
            engine=engine,
            topic=on.kafka.new_topic(partitions=partitions),
            home=home,
            variables=variables or {},
        )
        try:
            yield made
        finally:
            made.end()
            shutil.rmtree(home, ignore_errors=True)


def service_versions(on: Services) -> dict[str, str]:
    """Of what ``services`` started."""
    redis = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout
    pom = (ROOT / "deploy" / "local" / "kafka" / "pom.xml").read_text()
    kafka = re.search(r"<kafka\.version>(.*)</kafka\.version>", pom)
    engine = open_database(on.postgres_url)
    with engine.connect() as connection:
        postgres = str(connection.execute(text("SHOW server_version")).scalar_one())
    engine.dispose()
    return {"kafka": kafka[1] if kafka else "?", "redis": redis.split()[2][2:], "postgresql": postgres}


def start_program(
    name: str, command: Sequence[str], environment: Mapping[str, str], *, folder: Path
) -> Child:
    """Any other Python program of the benchmarks, as `python COMMAND`."""
    return _start(name, (sys.executable, *command), environment, folder=folder)


def wait_until(is_so: Callable[[], bool], within_s: float, child: Child | None = None) -> None:
    """Look until it is so; raises ``RuntimeError`` when time is up or the child has ended."""
    deadline = time.monotonic() + within_s
    while not is_so():
        if child is not None:
            child.require_running()
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {within_s:.0f} s for {child.name if child else 'the ledger'}")
        time.sleep(LOOKS_EVERY_S)


def answers(port: int) -> bool:
    """Whether ``/readyz`` says yes."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as probe:
            probe.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
            return b" 200 " in probe.recv(64)
    except OSError:
        return False


def interruptible(main: Callable[[], None]) -> None:
    """Run a benchmark; Ctrl-C and SIGTERM end it through every ``finally``, and with one line."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted: whatever was started has been ended")


def _start(
    name: str, command: Sequence[str], environment: Mapping[str, str], *, folder: Path, port: int = 0
) -> Child:
    log = folder / f"{name}.log"
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TRIAD_")}
    with log.open("wb") as said:
        process = subprocess.Popen(
            list(command),
            env={**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            cwd=ROOT,
            start_new_session=True,  # Ctrl-C is ours: we end them in order
        )
    return Child(name, process, log, port)


def _start_redis(folder: Path) -> Child:
    port = _free_port()
    options = {"--bind": "127.0.0.1", "--port": str(port), "--save": "", "--dir": str(folder)}
    command = ("redis-server", *(each for option in options.items() for each in option))
    child = _start("redis", command, {}, folder=folder, port=port)

    def is_open() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(is_open, READY_S, child)
    except BaseException:
        child.end()
        raise
    return child


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
