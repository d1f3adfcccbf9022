"""A Kafka broker for tests: the real one where Java and Maven are, else librdkafka's imitation, loudly."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from tests.mock_kafka import MockCluster
from tests.services import missing
from workers.kafka_clients import KafkaClients
from workers.settings import Settings

RUN = Path(__file__).parents[1] / "deploy" / "local" / "kafka" / "run.sh"
START_S = 60
USER, PASSWORD = "camera", "fine-grained secret"  # of the second listener
# Compaction at once, so that a test need not wait; and a second listener that asks who is there.
_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
_FOR_TESTS = (
    "log.cleaner.backoff.ms=100",
    "log.initial.task.delay.ms=100",
    "log.retention.check.interval.ms=1000",
    "listener.name.login.sasl.enabled.mechanisms=PLAIN",
    f'listener.name.login.plain.sasl.jaas.config={_PLAIN} user_{USER}="{PASSWORD}";',
    "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,LOGIN:SASL_PLAINTEXT",
)
_NUMBERS = count(1)


class KafkaBroker:
    """One running broker. ``is_real`` is False for the imitation, which cannot do all that a broker can."""

    is_real: bool
    servers: str
    api_version: str | None

    def settings(self, **more: Any) -> Settings:
        return Settings(kafka_servers=self.servers, kafka_api_version=self.api_version, **more)

    @contextmanager
    def admin(self) -> Iterator[Any]:
        """An admin client of kafka-python: what tests do to topics, they do by this."""
        client = KafkaClients(settings=self.settings()).admin()
        try:
            yield client
        finally:
            client.close()

    def new_topic(self, partitions: int = 1, **configs: str) -> str:
        """A topic of a name that no other test has; ``configs`` with ``_`` for each point."""
        name = f"frames.test-{os.getpid()}-{next(_NUMBERS)}"
        self.create_topic(name, partitions, **configs)
        return name

    def create_topic(self, name: str, partitions: int = 1, **configs: str) -> None:
        raise NotImplementedError

    def delete_records(self, topic: str, before: int, partition: int = 0) -> None:
        """Remove what lies below this offset, as retention does."""
        raise NotImplementedError


class RealBroker(KafkaBroker):
    """Apache Kafka in a process and a folder of its own; ports and data outlive a restart."""

    is_real = True
    api_version = None

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port, self._controller_port, self._login_port = _free_ports(3)
        self.servers = f"127.0.0.1:{self._port}"
        self.login_servers = f"127.0.0.1:{self._login_port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        listeners = f"PLAINTEXT://{self.servers},LOGIN://{self.login_servers}"
        controller = f"CONTROLLER://127.0.0.1:{self._controller_port}"
        more = (
            *_FOR_TESTS,
            f"listeners={listeners},{controller}",
            f"advertised.listeners={listeners}",
        )
        command = [str(RUN), str(self._folder), str(self._port), str(self._controller_port), *more]
        with (self._folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while not _answers(self._port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (self._folder / "broker.log").read_text(errors="replace")[-2000:]
                self.kill()
                raise RuntimeError(f"Kafka did not start in {START_S} s: {said}")
            time.sleep(0.1)

    @property
    def pid(self) -> int | None:
        """Of the broker's process, while it runs."""
        return self._process.pid if self._process else None

    def stop(self) -> None:
        """As an operator stops it: what was acknowledged is on disk."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=30)
        self._process = None

    def create_topic(self, name: str, partitions: int = 1, **configs: str) -> None:
        asked = {key.replace("_", "."): value for key, value in configs.items()}
        with self.admin() as admin:
            admin.create_topics(
                {name: {"num_partitions": partitions, "replication_factor": 1, "configs": asked}}
            )
            admin.wait_for_topics([name])

    def delete_topic(self, name: str) -> None:
        with self.admin() as admin:
            admin.delete_topics([name])
            deadline = time.monotonic() + START_S
            while admin.describe_topics([name])[0]["error_code"] == 0:
                assert time.monotonic() < deadline, f"{name} is still there"
                time.sleep(0.02)

    def delete_records(self, topic: str, before: int, partition: int = 0) -> None:
        from kafka import TopicPartition

        with self.admin() as admin:
            admin.delete_records({TopicPartition(topic, partition): before})


class ImitatedBroker(KafkaBroker):
    """librdkafka's mock cluster in this process: no transactions, compaction, topic ids or restarts."""

    is_real = False
    api_version = "2.3.0"  # it cannot say its version

    def __init__(self, cluster: MockCluster) -> None:
        self._cluster = cluster
        self.servers = cluster.servers

    def create_topic(self, name: str, partitions: int = 1, **configs: str) -> None:
        self._cluster.create_topic(name, partitions)

    def delete_records(self, topic: str, before: int, partition: int = 0) -> None:
        self._cluster.delete_records(topic, partition, before)


@contextmanager
def kafka_broker() -> Iterator[KafkaBroker]:
    """A broker of the best kind that this machine can run. With ``CI=true`` that is the real one."""
    lacking = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if not lacking:
        with real_broker() as broker:
            yield broker
        return
    if os.environ.get("CI") == "true":
        missing(" and ".join(lacking), remedy="apt-get install openjdk-17-jre-headless maven")
    sys.__stderr__ and sys.__stderr__.write(
        f"\nKAFKA IS IMITATED: no {' and no '.join(lacking)} here; the tests that need a broker are skipped\n"
    )
    with imitated_broker() as imitation:
        yield imitation


@contextmanager
def real_broker() -> Iterator[RealBroker]:
    """Apache Kafka; stopped, and its data gone, at the end."""
    folder = Path(tempfile.mkdtemp(prefix="triadline-kafka-"))
    broker = RealBroker(folder)
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def imitated_broker() -> Iterator[ImitatedBroker]:
    with MockCluster() as cluster:
        yield ImitatedBroker(cluster)


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
