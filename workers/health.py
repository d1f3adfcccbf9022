"""Health, metrics and version of one process over HTTP, in a thread beside its work.

/livez    the process and its device only: a dependency that is down must not get it restarted
/readyz   whether it should be given work; false while it drains. Both: ``?verbose`` names every check
/metrics  Prometheus text, or OpenMetrics where the reader accepts it
/version  which build this is
"""

import errno
import json
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus
from types import MappingProxyType, TracebackType
from typing import Any, Self
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIEnvironment

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from pipelines.errors import InputRefused
from workers.health_checks import Answer, Check, Checks
from workers.http_server import QuietServer, make_quiet_server

_log = structlog.get_logger(__name__)

JSON = "application/json"
PROBLEM = "application/problem+json"  # RFC 9457
OPEN_METRICS = "application/openmetrics-text"
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    status: HTTPStatus
    kind: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class HealthServer:
    """Serves while open, from daemon threads; port 0 takes a free one.

    ``live`` and ``ready`` are checks by name, see ``health_checks``; ``version`` is what /version says.

    Raises:
        InputRefused: The port is taken, or the host is not ours.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        registry: CollectorRegistry,
        version: Mapping[str, str],
        live: Mapping[str, Check] | None = None,
        ready: Mapping[str, Check] | None = None,
        is_draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self._registry = registry
        self._version = dict(version)
        self._live, self._ready = Checks(live or {}), Checks(ready or {})
        self._is_draining = is_draining
        self._server = _listen(host, port, self._serve)
        self._thread = threading.Thread(
            target=lambda: self._server.serve_forever(poll_interval=0.05), name="health", daemon=True
        )

    @property
    def port(self) -> int:
        return self._server.server_port

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        try:
            reply = self._reply(method, environ)
        except Exception as error:  # noqa: BLE001 -- the process edge: the reader gets an answer in any case
            _log.error("health request failed", path=environ.get("PATH_INFO"), error=repr(error))
            reply = problem(HTTPStatus.INTERNAL_SERVER_ERROR, "see this process's log")
        length = ("Content-Length", str(len(reply.body)))
        no_store = ("Cache-Control", "no-store")
        status = f"{reply.status.value} {reply.status.phrase}"
        start_response(status, [("Content-Type", reply.kind), length, no_store, *reply.headers])
        return [] if method == "HEAD" else [reply.body]

    def _reply(self, method: str, environ: Mapping[str, Any]) -> Reply:
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        is_verbose = "verbose" in query
        replies: dict[str, Callable[[], Reply]] = {
            "/livez": lambda: self._health(self._live, is_verbose, is_draining=False),
            "/healthz": lambda: self._health(self._live, is_verbose, is_draining=False),
            "/readyz": lambda: self._health(self._ready, is_verbose, is_draining=self._is_draining()),
            "/metrics": lambda: self._metrics(environ.get("HTTP_ACCEPT", "")),
            "/version": lambda: Reply(status=HTTPStatus.OK, kind=JSON, body=_json(self._version)),
        }
        reply = replies.get(environ["PATH_INFO"])
        if reply is None:
            return problem(HTTPStatus.NOT_FOUND, f"here are {', '.join(replies)}")
        if method not in ("GET", "HEAD"):
            return problem(HTTPStatus.METHOD_NOT_ALLOWED, "only read here", headers=(("Allow", "GET, HEAD"),))
        return reply()

    def _health(self, checks: Checks, is_verbose: bool, *, is_draining: bool) -> Reply:
        answers = checks.answers()
        if is_draining:
            answers["draining"] = Answer(
                ok=False, detail="this process was asked to end and takes no new work"
            )
        failed = sorted(name for name, answer in answers.items() if not answer.ok)
        shown = {"checks": {name: asdict(answer) for name, answer in answers.items()}} if is_verbose else {}
        if failed:
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, f"not ok: {', '.join(failed)}", members=shown)
        if is_verbose:
            return Reply(status=HTTPStatus.OK, kind=JSON, body=_json({"status": "ok", **shown}))
        return Reply(status=HTTPStatus.OK, kind=TEXT, body=b"ok\n")

    def _metrics(self, accept: str) -> Reply:
        # Two forms only: the library would take any version that a reader names, and fail over some.
        encode, kind = choose_encoder(f"{OPEN_METRICS}; version=1.0.0" if OPEN_METRICS in accept else "")
        return Reply(status=HTTPStatus.OK, kind=kind, body=encode(self._registry))


def problem(
    status: HTTPStatus,
    detail: str,
    *,
    headers: tuple[tuple[str, str], ...] = (),
    members: Mapping[str, object] = MappingProxyType({}),
) -> Reply:
    """An error as RFC 9457 spells it."""
    body = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    return Reply(status=status, kind=PROBLEM, body=_json({**body, **members}), headers=headers)


def _listen(host: str, port: int, serve: Any) -> QuietServer:
    try:
        return make_quiet_server(host, port, serve)
    except socket.gaierror as error:
        raise InputRefused(f"TRIAD_HTTP_HOST: {host!r} is no address of this machine") from error
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise InputRefused(f"TRIAD_HTTP_HOST: {host!r} is no address of this machine") from error
        raise InputRefused(
            f"TRIAD_HTTP_PORT: port {port} on {host} cannot be used ({error.strerror}); choose another"
        ) from error


def _json(body: Mapping[str, object]) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
