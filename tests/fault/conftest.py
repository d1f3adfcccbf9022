"""The services once for all tests, and a system of its own for each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.distributed import System, fresh_system
from tests.fault.services import Services, services


@pytest.fixture(scope="session")
def broken_services() -> Iterator[Services]:
    with services() as running:
        yield running


@pytest.fixture
def system(broken_services: Services, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[System]:
    with fresh_system(broken_services, tmp_path, name=request.node.name) as fresh:
        yield fresh
