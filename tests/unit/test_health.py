"""Health over real HTTP: what each path says, and that no check can hang a probe."""

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

import pytest

from pipelines.errors import InputRefused, StageUnavailable
from tests.exposition import fresh_metrics
from workers.health import HealthServer
from workers.health_checks import BoundedCheck, Check, Checks

VERSION = {"version": "0.1.0", "revision": "abc123", "python": "3.11.7", "profile": "tiny"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@contextmanager
def serving(
    *,
    live: Mapping[str, Check] | None = None,
    ready: Mapping[str, Check] | None = None,
    is_draining: Callable[[], bool] = lambda: False,
) -> Iterator[HealthServer]:
    server = HealthServer(
        host="127.0.0.1",
        port=0,
        registry=fresh_metrics(lines=["line-1"]).registry,
        version=VERSION,
        live=live,
        ready=ready,
        is_draining=is_draining,
    )
    with server:
        yield server


def get(server: HealthServer, path: str, *, method: str = "GET", accept: str | None = None) -> Got:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path, headers={} if accept is None else {"Accept": accept})
        response = connection.getresponse()
        return Got(status=response.status, headers=dict(response.getheaders()), body=response.read())
    finally:
        connection.close()


def fine() -> str:
    return "models loaded"


def away() -> str:
    raise StageUnavailable("broker: no answer")


def buggy() -> str:
    raise KeyError("a bug of ours")


@pytest.mark.parametrize("path", ["/livez", "/healthz", "/readyz"])
def test_a_healthy_process_says_so(path: str) -> None:
    with serving(live={"device": fine}, ready={"models": fine}) as server:
        got = get(server, path)

    assert (got.status, got.body, got.headers["Cache-Control"]) == (200, b"ok\n", "no-store")


def test_a_dependency_that_is_away_makes_it_unready_and_leaves_it_alive() -> None:
    with serving(ready={"models": fine, "broker": away}) as server:
        ready, live = get(server, "/readyz"), get(server, "/livez")

    assert live.status == 200
    assert (ready.status, ready.headers["Content-Type"]) == (503, "application/problem+json")
    assert ready.json == {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "not ok: broker",
    }


def test_verbose_names_every_check_with_its_detail() -> None:
    with serving(ready={"models": fine, "broker": away, "broken": buggy}) as server:
        unready = get(server, "/readyz?verbose")
    with serving(ready={"models": fine}) as server:
        ready = get(server, "/readyz?verbose")

    assert unready.json["checks"] == {
        "models": {"ok": True, "detail": "models loaded"},
        "broker": {"ok": False, "detail": "broker: no answer"},
        "broken": {"ok": False, "detail": "KeyError('a bug of ours')"},
    }
    assert (ready.status, ready.headers["Content-Type"]) == (200, "application/json")
    assert ready.json == {"status": "ok", "checks": {"models": {"ok": True, "detail": "models loaded"}}}


def test_a_process_that_drains_is_alive_and_not_ready() -> None:
    draining = threading.Event()
    with serving(live={"device": fine}, ready={"models": fine}, is_draining=draining.is_set) as server:
        before = get(server, "/readyz").status
        draining.set()
        after, alive = get(server, "/readyz?verbose"), get(server, "/livez")

    assert (before, after.status, alive.status) == (200, 503, 200)
    assert after.json["checks"]["draining"]["ok"] is False


def test_a_dead_device_ends_the_liveness() -> None:
    with serving(live={"watchdog": away}) as server:
        assert get(server, "/livez").status == 503
        assert get(server, "/healthz").status == 503


def test_metrics_come_as_text_and_as_openmetrics_where_that_is_accepted() -> None:
    with serving() as server:
        plain = get(server, "/metrics")
        modern = get(server, "/metrics", accept="application/openmetrics-text;version=1.0.0;q=0.9,*/*;q=0.1")
        odd = get(server, "/metrics", accept="application/openmetrics-text;version=none")

    assert plain.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert b'triad_frames_received_total{line="line-1"} 0.0\n' in plain.body
    assert modern.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert modern.body.endswith(b"# EOF\n")
    assert odd.status == 200


def test_the_version_is_told() -> None:
    with serving() as server:
        assert get(server, "/version").json == VERSION


@pytest.mark.parametrize("path", ["/livez", "/readyz?verbose", "/metrics", "/version"])
def test_head_gives_the_same_headers_and_no_body(path: str) -> None:
    with serving(ready={"models": fine}) as server:
        whole, head = get(server, path), get(server, path, method="HEAD")

    assert (head.status, head.body) == (whole.status, b"")
    if path != "/metrics":  # whose length may have changed in between
        assert head.headers["Content-Length"] == str(len(whole.body))
    assert head.headers["Content-Type"] == whole.headers["Content-Type"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "NONSENSE"])
def test_whoever_wants_to_write_is_refused(method: str) -> None:
    with serving() as server:
        got = get(server, "/livez", method=method)

    assert (got.status, got.headers["Allow"], got.json["title"]) == (405, "GET, HEAD", "Method Not Allowed")


@pytest.mark.parametrize("path", ["/", "/metricsx", "/livez/", "/%2e%2e/etc/passwd", "/" + "x" * 5000])
def test_an_unknown_path_is_a_problem_that_says_what_there_is(path: str) -> None:
    with serving() as server:
        got = get(server, path)

    assert (got.status, got.headers["Content-Type"]) == (404, "application/problem+json")
    assert "/readyz" in got.json["detail"]


@pytest.mark.parametrize(
    ("line", "status"), [(b'GET /livez "HTTP/nonsense"', 400), (b"GET /" + b"x" * 70_000 + b" HTTP/1.1", 414)]
)
def test_what_is_no_request_gets_a_problem_too(line: bytes, status: int) -> None:
    with serving() as server, socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        raw.sendall(line + b"\r\n\r\n")
        response = http.client.HTTPResponse(raw)
        response.begin()
        body = json.loads(response.read())

    assert (response.status, body["status"]) == (status, status)
    assert response.getheader("Content-Type") == "application/problem+json"


def test_nothing_is_written_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with serving(ready={"broker": away}) as server:
        for path in ("/livez", "/readyz", "/nowhere", "/metrics"):
            get(server, path)
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
            raw.sendall(b"nonsense\r\n\r\n")
            raw.recv(10)

    assert capfd.readouterr().err == ""


def test_a_taken_port_is_refused_with_the_name_of_its_setting() -> None:
    with serving() as server, pytest.raises(InputRefused, match=rf"TRIAD_HTTP_PORT: port {server.port} "):
        listen("127.0.0.1", server.port)


@pytest.mark.parametrize("host", ["no host", "192.0.2.1"])
def test_a_host_that_is_not_ours_is_refused_with_the_name_of_its_setting(host: str) -> None:
    with pytest.raises(InputRefused, match=r"TRIAD_HTTP_HOST: '.*' is no address of this machine"):
        listen(host, 0)


def listen(host: str, port: int) -> HealthServer:
    return HealthServer(host=host, port=port, registry=fresh_metrics().registry, version=VERSION)


def test_a_check_that_hangs_is_not_ok_and_is_not_asked_again_while_it_hangs() -> None:
    asked: list[int] = []
    with ExitStack() as stack:
        release = threading.Event()
        stack.callback(release.set)

        def hang() -> str:
            asked.append(1)
            release.wait(30)
            return "back"

        checks = Checks({"database": hang, "models": fine}, bound_s=0.3)
        for _ in range(3):
            answers = checks.answers()
            assert answers["database"].detail == "no answer in time"
            assert answers["models"].ok
        assert len(asked) == 1


def test_an_answer_is_kept_for_a_moment_and_then_asked_for_again() -> None:
    asked: list[int] = []
    now = 100.0

    def count() -> str:
        asked.append(1)
        return str(len(asked))

    check = BoundedCheck("count", count, fresh_s=1.0, clock=lambda: now)

    def ask() -> str:
        check.ask()
        return check.answer(10).detail

    assert [ask(), ask()] == ["1", "1"]
    now += 0.99
    assert ask() == "1"
    now += 0.02
    assert ask() == "2"
