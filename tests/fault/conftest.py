"""The services once for all tests, and a system of its own for each."""

import gc
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.distributed import System, fresh_system
from tests.fault.services import Services, services


@pytest.fixture(scope="session")
def broken_services() -> Iterator[Services]:
    with services() as running:
        yield running


@pytest.fixture(autouse=True)
def _known_warnings() -> Iterator[None]:
    """Sockets that kafka-python left when it was refused are collected while their warning is ignored.

    Its log lines hold on to them, and pytest to the lines: outages are what is tested here, and no news.
    """
    logger = logging.getLogger("kafka")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)
    gc.collect()


@pytest.fixture
def system(broken_services: Services, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[System]:
    with fresh_system(broken_services, tmp_path, name=request.node.name) as fresh:
        yield fresh
