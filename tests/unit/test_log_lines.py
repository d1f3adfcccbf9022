"""Log lines: one JSON object each, with the ids that find a frame again, and without passwords."""

import json
import logging
import warnings
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import structlog
from structlog.contextvars import bound_contextvars

from workers.log_lines import bound_trace, log_to_stderr, parse_traceparent, without_secrets

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SOUND = f"00-{TRACE}-{SPAN}-01"

log = structlog.get_logger("workers.somewhere")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    yield
    log_to_stderr("warning")
    root.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_is_one_json_object_that_says_when_what_and_who(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("info", "json", "planner")

    log.info("ranges planned\nand more", frames=3, share=0.5, names=("a", "b"), nothing=None, is_ok=True)

    (line,) = lines(capsys)
    when = datetime.fromisoformat(line.pop("ts"))
    assert when.utcoffset() is not None
    assert line == {
        "level": "info",
        "event": "ranges planned\nand more",
        "logger": "workers.somewhere",
        "process": "planner",
        "frames": 3,
        "share": 0.5,
        "names": ["a", "b"],
        "nothing": None,
        "is_ok": True,
    }


def test_what_json_cannot_say_is_said_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("info", "json")

    log.info("odd", score=float("nan"), most=float("inf"), name="\udce9.png", what={1: ValueError("x")})

    (line,) = lines(capsys)
    assert (line["score"], line["most"], line["name"], line["what"]) == (
        "nan",
        "inf",
        "\\udce9.png",
        {"1": "x"},
    )


def test_what_is_bound_is_in_every_line_within(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("info", "json")

    with bound_contextvars(batch=17, fence=2), bound_trace(SOUND):
        log.info("within")
    log.info("after")

    within, after = lines(capsys)
    assert (within["batch"], within["fence"]) == (17, 2)
    assert (within["trace_id"], within["span_id"]) == (TRACE, SPAN)
    assert not {"batch", "trace_id"} & after.keys()


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "nonsense",
        SOUND.upper(),
        SOUND + "-more",  # version 00 has four parts
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        SOUND + "\n",
    ],
)
def test_a_malformed_traceparent_is_ignored(text: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("info", "json")

    with bound_trace(text):
        log.info("frame given up")

    (line,) = lines(capsys)
    assert "trace_id" not in line


def test_a_traceparent_of_a_later_version_may_carry_more() -> None:
    assert parse_traceparent(f"01-{TRACE}-{SPAN}-01-more") == (TRACE, SPAN)
    assert parse_traceparent(SOUND) == (TRACE, SPAN)


def test_lines_of_libraries_look_like_ours(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("warning", "json", "worker")

    with bound_contextvars(batch=3):
        logging.getLogger("sqlalchemy.pool").warning("node %s is gone", 2)
    logging.getLogger("sqlalchemy.pool").info("chatter")

    (line,) = lines(capsys)
    assert (line["event"], line["logger"], line["level"]) == ("node 2 is gone", "sqlalchemy.pool", "warning")
    assert (line["process"], line["batch"]) == ("worker", 3)


def test_what_kafkas_client_says_is_said_only_when_debugging(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("info", "json")
    logging.getLogger("kafka.net").error("bootstrap failed")
    log_to_stderr("debug", "json")
    logging.getLogger("kafka.net").error("bootstrap failed again")

    (line,) = lines(capsys)
    assert line["event"] == "bootstrap failed again"


def test_an_exception_is_part_of_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("info", "json")

    def fail() -> None:
        raise ValueError("amqp://guest:open-sesame@mq/")

    for logger in (log, logging.getLogger("celery")):
        try:
            fail()
        except ValueError:
            logger.exception("failed")

    for line in lines(capsys):
        assert line["level"] == "error"
        assert "ValueError: amqp://guest:***@mq/" in line["exception"]


def test_a_warning_of_python_is_a_line_like_others(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        log_to_stderr("info", "json")
        warnings.warn("old call", DeprecationWarning, stacklevel=1)
        log_to_stderr("info", "text")  # puts Python's own printing back

    (line,) = lines(capsys)
    assert (line["logger"], line["level"]) == ("py.warnings", "warning")


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_password_gets_into_a_line(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("info", log_format)

    log.info("connected", broker="redis://:open-sesame@redis:6379/0", urls=["amqp://a:open-sesame@b/"])
    logging.getLogger("sqlalchemy").warning("lost %s", "postgresql://triad:open-sesame@db/triad")
    log.warning("psycopg", error=ValueError("host=db password=open-sesame dbname=triad"))

    written = capsys.readouterr().err
    assert "open-sesame" not in written
    assert "triad:***@db/triad" in written


def test_a_password_with_an_at_sign_is_masked_whole() -> None:
    assert without_secrets("at redis://u:p@ss@host:1/0 now") == "at redis://u:***@host:1/0 now"
    assert without_secrets("http://host:80/path") == "http://host:80/path"


def test_text_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("warning")

    log.info("not told")
    log.warning("claim lost", batch=4)

    written = capsys.readouterr().err
    assert "claim lost" in written
    assert "batch=4" in written
    assert "not told" not in written
    assert not written.startswith("{")
    assert len(written.splitlines()) == 1
