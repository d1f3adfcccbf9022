"""Every storage contract holds on SQLite and on PostgreSQL: ``database`` is one, then the other."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from storage.database import migrate, open_database
from tests.brokers import ImitatedBroker, KafkaBroker, RealBroker, imitated_broker, kafka_broker
from tests.contract.stream import Stream, make_stream
from tests.databases import fresh_postgres, make_template, postgres_server
from tests.services import missing


@pytest.fixture(scope="session")
def migrated_postgres() -> Iterator[tuple[str, str]]:
    with postgres_server() as url:
        yield url, make_template(url)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    engine = open_database(f"sqlite:///{file}")
    migrate(engine)
    engine.dispose()
    return file


@pytest.fixture
def sqlite(migrated_sqlite: Path, tmp_path: Path) -> Iterator[Engine]:
    file = shutil.copy(migrated_sqlite, tmp_path / "triad.db")
    engine = open_database(f"sqlite:///{file}")
    yield engine
    engine.dispose()


@pytest.fixture
def postgres(migrated_postgres: tuple[str, str]) -> Iterator[Engine]:
    url, template = migrated_postgres
    with fresh_postgres(url, template=template) as engine:
        yield engine


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Engine:
    engine: Engine = request.getfixturevalue(request.param)
    return engine


@pytest.fixture
def stream(database: Engine) -> Stream:
    return make_stream(database)


@pytest.fixture(scope="session")
def any_kafka() -> Iterator[KafkaBroker]:
    with kafka_broker() as broker:
        yield broker


@pytest.fixture(scope="session")
def kafka(any_kafka: KafkaBroker) -> RealBroker:
    if not isinstance(any_kafka, RealBroker):
        missing("Apache Kafka", remedy="install Java 17 and Maven")
    return any_kafka


@pytest.fixture(scope="session")
def imitation() -> Iterator[ImitatedBroker]:
    with imitated_broker() as broker:
        yield broker
