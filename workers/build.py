"""Which build this is: for /version and the metric that every dashboard joins."""

import importlib.metadata
import platform
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """``revision`` is the source's, as far as the image says it."""

    version: str
    revision: str
    python: str


def this_build(*, revision: str) -> Build:
    return Build(
        version=importlib.metadata.version("triadline"), revision=revision, python=platform.python_version()
    )
