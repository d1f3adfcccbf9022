"""A whole distributed system of real processes, on real services, to break and to hold to its contract."""

import hashlib
import math
import os
import re
import signal
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Connection, text

from pipelines.envelope import write_envelope
from pipelines.errors import StageUnavailable
from storage.batches import LIVE_RUN, BatchKind, backlog, cursors, watermark
from storage.database import reading
from tests.databases import fresh_postgres
from tests.fault.forking import Program
from tests.fault.proof import Ack, Counts, counts, violations
from tests.fault.services import Services
from tests.frames_in_kafka import Frames, envelope_of
from tests.plates import FAILING, PASSING, add_product, plate_png
from workers.kafka_clients import KafkaClients
from workers.kafka_topic import KafkaTopic
from workers.settings import load_settings
from workers.wiring import Stores, open_stores

LEASE_S = 2.0
LOOKS_EVERY_S = 0.05
_ROLES = {
    "planner": ("planner",),
    "inspect": ("worker", "--queue", "inspect"),
    "reason": ("worker", "--queue", "reason"),
    "publisher": ("publisher",),
}


@dataclass(slots=True, kw_only=True)
class Kept:
    """A place where a process should be: whoever dies there is replaced."""

    role: str
    faults: str
    program: Program
    variables: dict[str, object]


@dataclass(slots=True, kw_only=True)
class System:
    """One plant: a topic, a database, a Redis and processes. ``acks`` is the oracle."""

    name: str
    services: Services
    stores: Stores
    database_url: str
    folder: Path
    topic: str
    variables: dict[str, str]
    asked: KafkaTopic
    frames: Frames
    acks: list[Ack] = field(default_factory=list)
    removed: dict[tuple[str, int], float] = field(default_factory=dict)  # below which offset, see `proof`
    programs: list[Program] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    deaths: int = 0  # of processes that were replaced

    # -- processes

    def start(self, role: str, faults: str = "never", **variables: object) -> Program:
        """``triad`` in this role, with these faults (see `triad_with_fakes`) and settings."""
        given = {f"TRIAD_{key.upper()}": str(value) for key, value in variables.items()}
        return self._start(role, faults, _ROLES[role], given)

    def command(self, *arguments: str) -> Program:
        """``triad`` with these arguments."""
        return self._start(arguments[0], "never", arguments, {})

    def _start(self, kind: str, faults: str, arguments: Sequence[str], given: Mapping[str, str]) -> Program:
        name = f"{kind}-{len(self.programs) + 1}"
        program = self.services.starter.start(
            name, faults, arguments, {**self.variables, **given}, self.folder / f"{name}.log"
        )
        self.programs.append(program)
        return program

    def keep(self, role: str, faults: str = "never", **variables: object) -> Kept:
        """The same, and another one whenever it ends."""
        kept = Kept(
            role=role, faults=faults, program=self.start(role, faults, **variables), variables=variables
        )
        self.kept.append(kept)
        return kept

    def tend(self) -> None:
        """What whoever keeps processes running does now and then."""
        for kept in self.kept:
            if not kept.program.is_running:
                self.deaths += 1
                kept.program = self.start(kept.role, kept.faults, **kept.variables)

    def wait_started(self) -> None:
        """All processes have come past their beginning, where an outage ends them."""
        self.wait_until(lambda: all("started" in each.said() for each in self.programs), "all started")

    def close(self) -> None:
        self.kept.clear()
        for program in self.programs:
            program.end_at_once()
        for program in self.programs:
            program.wait(10)
        self.frames.producer.close(timeout=2)
        self.asked.close()
        self.stores.engine.dispose()

    # -- frames

    def produce(self, number: int, *, partition: int = 0, mark: int = 0) -> list[Ack]:
        """Plates, every fifth of which fails; each is in the acks when this returns."""
        return self.send([picture(each % 5 == 0, each % 20, mark) for each in range(number)], partition)

    def send(self, payloads: Sequence[bytes], partition: int = 0, *, is_aborted: bool = False) -> list[Ack]:
        """These bytes as frames."""
        return self.send_by(self.frames, payloads, partition, is_aborted=is_aborted)

    def send_by(
        self, frames: Frames, payloads: Sequence[bytes], partition: int = 0, *, is_aborted: bool = False
    ) -> list[Ack]:
        topic_id = self.topic_id()
        envelopes = [envelope_of(product="plate") for _ in payloads]
        sent = [
            frames.put(payload, write_envelope(envelope), partition)
            for payload, envelope in zip(payloads, envelopes, strict=True)
        ]
        acks = [
            Ack(
                topic_id=topic_id,
                partition=partition,
                offset=offset,
                event=envelope.id,
                sha256=hashlib.sha256(payload).hexdigest(),
                is_aborted=is_aborted,
            )
            for payload, envelope, offset in zip(payloads, envelopes, frames.wait(sent), strict=True)
        ]
        self.acks += acks
        return acks

    def topic_id(self, *, within_s: float = 20) -> str:
        """What the topic is now; a broker that has just begun is asked again."""
        until = time.monotonic() + within_s
        while True:
            try:
                return self.asked.uuid()
            except StageUnavailable:
                if time.monotonic() > until:
                    raise
                time.sleep(LOOKS_EVERY_S)

    def delete_records(self, before: int, partition: int = 0) -> None:
        """As retention does."""
        self.removed[self.topic_id(), partition] = before
        self.services.kafka.delete_records(self.topic, before, partition)

    def make_topic_again(self) -> None:
        """Under its old name, with as many partitions, and empty."""
        old, partitions = self.topic_id(), self.asked.partitions()
        self.removed |= dict.fromkeys(((old, each) for each in partitions), math.inf)
        self.services.kafka.delete_topic(self.topic)
        self.services.kafka.create_topic(self.topic, len(partitions))

    # -- waiting

    def wait_until(self, is_so: Callable[[], bool], what: str, *, within_s: float = 20) -> float:
        """Seconds that it took; those who should be there are, meanwhile."""
        began = time.monotonic()
        while True:
            self.tend()
            if is_so():
                return time.monotonic() - began
            if time.monotonic() - began > within_s:
                self.stacks()
                raise AssertionError(f"not within {within_s} s: {what}\n{self.state()}")
            time.sleep(LOOKS_EVERY_S)

    def stacks(self) -> None:
        """Have every process write where its threads are, into its log."""
        for program in self.programs:
            program.send(signal.SIGUSR1)
        time.sleep(0.5)

    def drain(self, *, within_s: float = 30, kinds: Sequence[BatchKind] = tuple(BatchKind)) -> float:
        """Wait until all that was sent is planned and nothing waits or is leased; how many seconds."""
        return self.wait_until(lambda: self.is_drained(kinds), "everything is done", within_s=within_s)

    def is_drained(self, kinds: Sequence[BatchKind] = tuple(BatchKind)) -> bool:
        try:
            ends = {each: self.asked.stable_end(each) for each in self.asked.partitions()}
            with reading(self.stores.engine) as connection:
                log_id = self._log_id(connection)
                planned = cursors(connection, run_id=LIVE_RUN)
                left = backlog(connection)
        except StageUnavailable:
            return False
        is_planned = all(planned.get((log_id, each), -1) >= end for each, end in ends.items())
        return is_planned and not any(left[kind].planned + left[kind].leased for kind in kinds)

    def waiting(self) -> int:
        """Frames of the topic as it is now that are not done, or lie behind one that is not."""
        ends = {each: self.asked.end(each) for each in self.asked.partitions()}
        return sum(end - self.watermark(each) for each, end in ends.items())

    def watermark(self, partition: int) -> int:
        """Below it everything is done, of the topic as it is now."""
        with reading(self.stores.engine) as connection:
            log_id = self._log_id(connection)
            return watermark(connection, run_id=LIVE_RUN, log_id=log_id, partition=partition)

    def _log_id(self, connection: Connection) -> int:
        newest = text("SELECT id FROM log WHERE uuid = :uuid ORDER BY epoch DESC LIMIT 1")
        return connection.execute(newest, {"uuid": self.asked.uuid()}).scalar_one_or_none() or 0

    def rows(self, statement: str, **values: object) -> list[Any]:
        with reading(self.stores.engine) as connection:
            return list(connection.execute(text(statement), values).all())

    def number(self, statement: str, **values: object) -> int:
        ((found,),) = self.rows(statement, **values)
        return int(found)

    @property
    def verdicts(self) -> int:
        return self.number("SELECT count(*) FROM verdict")

    def leases(self, owner: str = "") -> int:
        """Batches held by processes whose name begins with this."""
        return self.number(
            "SELECT count(*) FROM batch WHERE state = 'leased' AND owner LIKE :owner", owner=owner + "%"
        )

    def state(self) -> str:
        """For whoever reads why a test failed."""
        told = [f"{each.name}: {each.code}: {shortened(each.said())}" for each in self.programs[-6:]]
        batches = self.rows("SELECT kind, state, count(*) FROM batch GROUP BY kind, state")
        return "\n".join([str(batches), *told])

    # -- the contract

    def assert_contract(self) -> Counts:
        """What everything came to; printed, for whoever wants to see it."""
        with reading(self.stores.engine) as connection:
            wrong = violations(connection, self.acks, self.removed)
            found = counts(connection, self.acks)
        print(f"{self.name}: {found}")  # noqa: T201 -- shown with -rP
        assert not wrong, "\n".join(wrong[:10])
        return found


def shortened(said: str) -> str:
    """The last lines of a log, and of each thread's stack in it the innermost frames."""
    log, *threads = re.split(r"\n(?=(?:Current thread|Thread) 0x)", said)
    innermost = ["\n".join(thread.splitlines()[:7]) for thread in threads]
    return "\n".join([log[-1500:], *innermost])


def fresh_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def page(port: int, name: str, *, within_s: float = 10) -> str:
    """What a process says over HTTP, once it does."""
    until = time.monotonic() + within_s
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{name}", timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(LOOKS_EVERY_S)


def metric(port: int, name: str) -> dict[str, float]:
    """A metric of a process, by its labels' values joined with commas."""
    said = page(port, "metrics")
    return {
        ",".join(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(said)
        for sample in family.samples
        if sample.name == name
    }


@cache
def picture(fails: bool, noise: int, mark: int = 0) -> bytes:
    return plate_png(FAILING if fails else PASSING, noise=noise, mark=mark)


@contextmanager
def fresh_system(services: Services, folder: Path, *, name: str, **variables: object) -> Iterator[System]:
    """With one product and an empty topic of two partitions; no process runs yet."""
    services.redis.flush()
    topic = services.kafka.new_topic(partitions=2)
    postgres = services.postgres
    with fresh_postgres(postgres.url, template=postgres.template) as engine:
        url = engine.url.render_as_string(hide_password=False)
        environment = {
            "PATH": os.environ["PATH"],
            "TRIAD_HOME": str(folder / "home"),
            "TRIAD_DATABASE_URL": url,
            "TRIAD_BROKER_URL": services.redis.url,
            "TRIAD_KAFKA_SERVERS": services.kafka.servers,
            "TRIAD_FRAMES_TOPICS": topic,
            "TRIAD_VERDICTS_TOPIC": topic.replace("frames", "verdicts"),
            "TRIAD_DEAD_LETTERS_TOPIC": topic.replace("frames", "dead-letters"),
            "TRIAD_FRAMES_PER_BATCH": "8",
            "TRIAD_BATCH_WAIT_S": "0.05",
            "TRIAD_POLL_S": "0.05",
            "TRIAD_BACKOFF_S": "0.1",
            "TRIAD_LEASE_S": str(LEASE_S),
            "TRIAD_LOG_LEVEL": "info",
        } | {f"TRIAD_{key.upper()}": str(value) for key, value in variables.items()}
        settings = load_settings(environment=environment).settings
        stores = open_stores(settings)
        add_product(stores)
        system = System(
            name=name,
            services=services,
            stores=stores,
            database_url=url,
            folder=folder,
            topic=topic,
            variables=environment,
            asked=KafkaTopic(clients=KafkaClients(settings=settings), name=topic),
            frames=Frames(services.kafka, topic),
        )
        try:
            yield system
        finally:
            system.close()
