"""What a process shows of itself: metrics, health, spans."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workers.build import Build, this_build
from workers.counting import Counting
from workers.health import HealthServer
from workers.health_checks import Check
from workers.metrics import Metrics
from workers.settings import Settings
from workers.tracing import open_spans
from workers.watch import Watch, Watches

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Telemetry:
    """``watch`` is told of the work; ``metrics`` is what it counts on, over ``registry``."""

    build: Build
    registry: CollectorRegistry
    metrics: Metrics
    watch: Watch


@contextmanager
def telemetry(settings: Settings, process: str) -> Iterator[Telemetry]:
    """Of one process; spans only where OpenTelemetry is there and wanted, and sent at the end."""
    from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    build = this_build(revision=settings.revision)
    metrics = Metrics(registry, build=build)
    spans = open_spans(os.environ, process=process, version=build.version)
    counting = Counting(metrics)
    watch = counting if spans is None else Watches(counting, spans)
    try:
        yield Telemetry(build=build, registry=registry, metrics=metrics, watch=watch)
    finally:
        if spans is not None:
            spans.close()


@contextmanager
def serving(
    settings: Settings,
    shown: Telemetry,
    *,
    live: Mapping[str, Check],
    ready: Mapping[str, Check],
    is_draining: Callable[[], bool],
) -> Iterator[None]:
    """Health and metrics over HTTP while the block lasts, where the settings name a port."""
    with ExitStack() as stack:
        if settings.http_port:
            version = {
                "version": shown.build.version,
                "revision": shown.build.revision,
                "python": shown.build.python,
                "profile": settings.profile,
            }
            server = HealthServer(
                host=settings.http_host,
                port=settings.http_port,
                registry=shown.registry,
                version=version,
                live=live,
                ready=ready,
                is_draining=is_draining,
            )
            stack.enter_context(server)
        yield
