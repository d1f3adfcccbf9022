"""One Kafka broker for all tests that need one, started when the first does."""

from collections.abc import Iterator

import pytest

from tests.brokers import RealBroker, kafka_broker
from tests.services import missing


@pytest.fixture(scope="session")
def kafka() -> Iterator[RealBroker]:
    with kafka_broker() as broker:
        if not isinstance(broker, RealBroker):
            missing("Apache Kafka", remedy="install Java 17 and Maven")
        yield broker
