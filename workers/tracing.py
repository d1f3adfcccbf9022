"""Spans for OpenTelemetry, where it is installed and told where to send them; else nothing, at no cost."""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

import structlog
from typing_extensions import override

from workers.log_lines import parse_traceparent
from workers.watch import Explained, Inspected, Watch

if TYPE_CHECKING:
    from datetime import datetime

    from storage.claims import Claim
    from workers.frame_log import Record

_log = structlog.get_logger(__name__)

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"  # OpenTelemetry's own variable; its libraries read the rest
MOST_LINKS = 128  # what OpenTelemetry keeps of a span


def open_spans(environment: Mapping[str, str], *, process: str, version: str) -> Spans | None:
    """The watcher that tells of each batch in a span; None unless wanted and possible."""
    if not environment.get(ENDPOINT):
        return None
    if importlib.util.find_spec("opentelemetry") is None:
        _log.warning("no spans: OpenTelemetry is not installed", variable=ENDPOINT)
        return None
    try:
        exporter = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        resources = import_module("opentelemetry.sdk.resources")
        tracing = import_module("opentelemetry.sdk.trace")
        export = import_module("opentelemetry.sdk.trace.export")
    except ImportError as error:
        _log.warning("no spans: OpenTelemetry is installed in part", variable=ENDPOINT, error=str(error))
        return None
    names = {"service.name": f"triad-{process}", "service.version": version}
    provider = tracing.TracerProvider(resource=resources.Resource.create(names))
    provider.add_span_processor(export.BatchSpanProcessor(exporter.OTLPSpanExporter()))
    return Spans(provider)


@dataclass(slots=True)
class _Open:
    """A batch between claim and end; ``links`` are trace and span ids of its frames."""

    started_ns: int = field(default_factory=time.time_ns)
    links: list[tuple[str, str]] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)


class Spans(Watch):
    """One span per batch, from claim to end, linked to what its frames' producers were doing.

    Written when the batch is left, because only then the links are known.
    """

    def __init__(self, provider: Any) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("triadline")
        self._open: dict[tuple[int, int], _Open] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Send what is not sent yet."""
        self._provider.shutdown()

    @override
    def batch_claimed(self, claim: Claim, *, at: datetime) -> None:
        with self._lock:
            self._open[_key(claim)] = _Open()

    @override
    def frames_read(self, claim: Claim, records: Sequence[Record]) -> None:
        spent = self._open.get(_key(claim))
        if spent is None:
            return
        traces = (parse_traceparent(each.envelope.traceparent) for each in records if each.envelope)
        found = [trace for trace in traces if trace is not None]
        spent.links += found[: MOST_LINKS - len(spent.links)]

    @override
    def batch_inspected(self, claim: Claim, done: Inspected) -> None:
        self._note(claim, verdicts=len(done.verdicts), dead_letters=len(done.dead_letters), lost=done.lost)

    @override
    def batch_explained(self, claim: Claim, explained: Sequence[Explained], *, seconds: float) -> None:
        self._note(claim, explained=len(explained))

    @override
    def handed_back(self, claim: Claim, error: BaseException | None) -> None:
        self._note(claim, handed_back=str(error or "stopping"))

    @override
    def claim_lost(self, claim: Claim) -> None:
        self._note(claim, claim_lost=True)

    @override
    def batch_left(self, claim: Claim) -> None:
        with self._lock:
            spent = self._open.pop(_key(claim), None)
        if spent is None:
            return
        api = import_module("opentelemetry.trace")
        links = [
            api.Link(api.SpanContext(int(trace, 16), int(span, 16), is_remote=True))
            for trace, span in spent.links
        ]
        place = {"batch": claim.batch_id, "fence": claim.fence, "run": claim.run_id, "log": claim.log_id}
        offsets = {"partition": claim.partition, "first": claim.first_offset, "end": claim.end_offset}
        attributes = {f"triad.{key}": value for key, value in (place | offsets | spent.attributes).items()}
        name = f"{claim.kind.value} batch"
        self._tracer.start_span(name, links=links, attributes=attributes, start_time=spent.started_ns).end()

    def _note(self, claim: Claim, **attributes: object) -> None:
        spent = self._open.get(_key(claim))
        if spent is not None:
            spent.attributes |= attributes


def _key(claim: Claim) -> tuple[int, int]:
    return claim.batch_id, claim.fence
