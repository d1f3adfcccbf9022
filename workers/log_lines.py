"""Log lines, ours and our libraries': one event per line on standard error, with ids that find it again."""

import json
import logging
import math
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

import structlog
from structlog.contextvars import bound_contextvars, merge_contextvars
from structlog.types import EventDict, Processor
from typing_extensions import override

# W3C Trace Context: version, trace id, parent id, flags; a version above 00 may carry more.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?", re.ASCII)
_URL_PASSWORD = re.compile(r"://([^\s/:@]*):\S+@")  # greedy: rather too much than half a password
_NAMED_SECRET = re.compile(r"\b(password|passwd|secret|token|api_?key)=[^\s&'\"]+", re.IGNORECASE)


def log_to_stderr(level: str, log_format: str = "text", process: str = "triad") -> None:
    """Log from this level on, as text for people or json for collectors; asked again, the new form holds.

    ``process`` says in json which of our processes this is, such as ``planner``.
    """
    is_json = log_format == "json"
    number = logging.getLevelNamesMapping()[level.upper()]
    time = structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts" if is_json else "timestamp")
    shared: list[Processor] = [merge_contextvars, structlog.stdlib.add_log_level, time]
    if is_json:
        shared += [structlog.stdlib.add_logger_name, _Named(process)]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    plain = structlog.dev.plain_traceback  # the pretty one prints local variables, passwords among them
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _masked_values,
            _as_json if is_json else structlog.dev.ConsoleRenderer(colors=False, exception_formatter=plain),
        ],
    )
    _log_through(_StandardError(formatter), number)
    logging.captureWarnings(is_json)  # else Python prints them as lines that are no JSON


@contextmanager
def bound_trace(traceparent: str | None) -> Iterator[None]:
    """Log lines within carry the frame's ``trace_id`` and ``span_id``; neither if malformed."""
    trace = parse_traceparent(traceparent)
    if trace is None:
        yield
        return
    with bound_contextvars(trace_id=trace[0], span_id=trace[1]):
        yield


def parse_traceparent(text: str | None) -> tuple[str, str] | None:
    """Trace id and parent span id in hex; None for what W3C Trace Context calls invalid."""
    match = _TRACEPARENT.fullmatch(text or "")
    if match is None:
        return None
    version, trace, span, more = match.groups()
    if (version == "00" and more) or not int(trace, 16) or not int(span, 16):
        return None
    return trace, span


def without_secrets(text: str) -> str:
    """The text with the passwords of its URLs masked, whoever wrote it."""
    return _NAMED_SECRET.sub(r"\1=***", _URL_PASSWORD.sub(r"://\1:***@", text))


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to what standard error is at that moment: a test, or a terminal's owner, may exchange it."""

    def __init__(self, formatter: logging.Formatter) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(formatter)

    @property
    @override
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def _log_through(handler: _StandardError, level: int) -> None:
    """The root's handler of ours is exchanged; those of others (a test's) stay."""
    root = logging.getLogger()
    for before in [each for each in root.handlers if isinstance(each, _StandardError)]:
        root.removeHandler(before)
    root.addHandler(handler)
    root.setLevel(level)
    # What a client library says of an outage we say ourselves, once, where it can be acted on.
    for chatty in ("kafka", "kombu", "alembic", "faiss"):
        logging.getLogger(chatty).setLevel(level if level <= logging.DEBUG else logging.CRITICAL)


class _Named:
    def __init__(self, process: str) -> None:
        self._process = process

    def __call__(self, logger: object, method: str, event: EventDict) -> EventDict:
        event["process"] = self._process
        return event


def _masked_values(logger: object, method: str, event: EventDict) -> EventDict:
    return {key: _plain(value) for key, value in event.items()}


def _as_json(logger: object, method: str, event: EventDict) -> str:
    first = {key: event.pop(key) for key in ("ts", "level", "event", "logger", "process") if key in event}
    return json.dumps(first | dict(event), ensure_ascii=False, separators=(",", ":"))


def _plain(value: object) -> Any:
    """What JSON can say, without secrets; a lone surrogate (a file's name may hold one) is escaped."""
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(item) for item in value]
    return without_secrets(str(value)).encode("utf-8", "backslashreplace").decode("utf-8")
