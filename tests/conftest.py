"""What every test is run under."""

import pytest

_OF_KAFKA_PYTHON = (
    "ignore:(read|open)_text is deprecated:DeprecationWarning",  # how it reads its schemas
    "ignore:unclosed <socket:ResourceWarning",  # a refused connection's is left to the garbage collector
)


def pytest_configure(config: pytest.Config) -> None:
    for line in _OF_KAFKA_PYTHON:
        config.addinivalue_line("filterwarnings", line)
