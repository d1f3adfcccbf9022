"""Spans through a make-believe OpenTelemetry; the real one is optional."""

import sys
from dataclasses import dataclass, field, replace
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest

from pipelines.frame import Envelope
from tests.unit.test_metrics import CLAIM, NOON
from workers.frame_log import Record
from workers.tracing import ENDPOINT, MOST_LINKS, Spans, open_spans
from workers.watch import Inspected

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@dataclass(slots=True)
class FakeSpan:
    name: str
    links: list[Any]
    attributes: dict[str, Any]
    start_time: int
    is_ended: bool = False

    def end(self) -> None:
        self.is_ended = True


@dataclass(slots=True)
class FakeProvider:
    """Takes the place of the provider and of its tracer."""

    resource: Any = None
    processors: list[Any] = field(default_factory=list)
    spans: list[FakeSpan] = field(default_factory=list)
    is_shut: bool = False

    def add_span_processor(self, processor: Any) -> None:
        self.processors.append(processor)

    def get_tracer(self, name: str) -> "FakeProvider":
        return self

    def start_span(self, name: str, **told: Any) -> FakeSpan:
        self.spans.append(FakeSpan(name, **told))
        return self.spans[-1]

    def shutdown(self) -> None:
        self.is_shut = True


@dataclass(slots=True)
class FakeContext:
    trace_id: int
    span_id: int
    is_remote: bool


@pytest.fixture
def opentelemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    class Resource:
        @staticmethod
        def create(names: dict[str, str]) -> dict[str, str]:
            return names

    members: dict[str, dict[str, Any]] = {
        "opentelemetry": {},
        "opentelemetry.trace": {"Link": lambda context: context, "SpanContext": FakeContext},
        "opentelemetry.sdk": {},
        "opentelemetry.sdk.resources": {"Resource": Resource},
        "opentelemetry.sdk.trace": {"TracerProvider": FakeProvider},
        "opentelemetry.sdk.trace.export": {"BatchSpanProcessor": lambda exporter: ("batch", exporter)},
        "opentelemetry.exporter": {},
        "opentelemetry.exporter.otlp": {},
        "opentelemetry.exporter.otlp.proto": {},
        "opentelemetry.exporter.otlp.proto.http": {},
        "opentelemetry.exporter.otlp.proto.http.trace_exporter": {"OTLPSpanExporter": lambda: "otlp"},
    }
    for name, inside in members.items():
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        module.__path__ = []
        for key, value in inside.items():
            setattr(module, key, value)
        monkeypatch.setitem(sys.modules, name, module)


def opened(environment: dict[str, str]) -> Spans | None:
    return open_spans(environment, process="worker", version="0.1.0")


def must_open() -> tuple[Spans, FakeProvider]:
    spans = opened({ENDPOINT: "http://collector:4318"})
    assert spans is not None
    provider = spans._provider
    assert isinstance(provider, FakeProvider)
    return spans, provider


def a_record(traceparent: str | None) -> Record:
    envelope = Envelope(id="1", source="camera", line="line-1", traceparent=traceparent)
    return Record(offset=8, name="n", key="line-1", envelope=envelope, payload=b"")


@pytest.mark.usefixtures("opentelemetry")
def test_without_an_endpoint_there_are_no_spans() -> None:
    assert opened({}) is None
    assert opened({ENDPOINT: ""}) is None


def test_without_the_packages_there_are_no_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert opened({ENDPOINT: "http://collector:4318"}) is None


@pytest.mark.usefixtures("opentelemetry")
def test_half_an_installation_gives_no_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace.export", None)  # as if it were not there
    assert opened({ENDPOINT: "http://collector:4318"}) is None


@pytest.mark.usefixtures("opentelemetry")
def test_a_batch_is_a_span_that_is_linked_to_its_frames_traces() -> None:
    spans, provider = must_open()

    spans.batch_claimed(CLAIM, at=NOON)
    spans.frames_read(CLAIM, [a_record(f"00-{TRACE}-{SPAN}-01"), a_record(None), a_record("nonsense")])
    spans.batch_inspected(CLAIM, Inspected(decided_at=NOON, lost=3))
    assert provider.spans == []
    spans.batch_left(CLAIM)
    spans.close()

    (span,) = provider.spans
    assert (span.name, span.is_ended) == ("inspect batch", True)
    assert span.links == [FakeContext(int(TRACE, 16), int(SPAN, 16), is_remote=True)]
    assert span.attributes["triad.batch"] == 7
    assert (span.attributes["triad.lost"], span.attributes["triad.verdicts"]) == (3, 0)
    assert provider.resource == {"service.name": "triad-worker", "service.version": "0.1.0"}
    assert provider.processors == [("batch", "otlp")]
    assert provider.is_shut


@pytest.mark.usefixtures("opentelemetry")
def test_a_batch_that_is_handed_back_says_why() -> None:
    spans, provider = must_open()

    spans.batch_claimed(CLAIM, at=NOON)
    spans.handed_back(CLAIM, ValueError("no device"))
    spans.batch_left(CLAIM)

    assert provider.spans[0].attributes["triad.handed_back"] == "no device"


@pytest.mark.usefixtures("opentelemetry")
def test_links_are_bounded_and_nothing_is_kept_of_a_batch_that_is_left() -> None:
    spans, provider = must_open()

    spans.batch_claimed(CLAIM, at=NOON)
    for _ in range(3):
        spans.frames_read(CLAIM, [a_record(f"00-{TRACE}-{SPAN}-01")] * 100)
    spans.batch_left(CLAIM)
    spans.batch_left(CLAIM)
    spans.frames_read(replace(CLAIM, batch_id=8), [a_record(None)])

    assert [len(span.links) for span in provider.spans] == [MOST_LINKS]
    assert spans._open == {}
