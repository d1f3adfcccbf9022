"""What a test does when something it needs is not here: skip on a desk, fail in CI."""

import os
from typing import NoReturn

import pytest


def missing(what: str, *, remedy: str) -> NoReturn:
    """Stop this test with one loud line; with ``CI=true`` a missing service is a failure."""
    line = f"{what} is missing: {remedy}"
    if os.environ.get("CI") == "true":
        pytest.fail(line, pytrace=False)
    pytest.skip(line)
