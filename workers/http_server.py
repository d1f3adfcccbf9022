"""A small HTTP server of the standard library, made fit to stand beside work: quiet, bounded, no DNS."""

import json
import socket
from http import HTTPStatus
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import WSGIApplication

import structlog
from typing_extensions import override

_log = structlog.get_logger(__name__)

SLOW_READER_S = 10.0  # a connection that sends or takes nothing for this long is closed


class QuietServer(ThreadingMixIn, WSGIServer):
    """A thread per request, which ends with the process."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], family: socket.AddressFamily) -> None:
        self.address_family = family
        super().__init__(address, _QuietHandler)

    @override
    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's own asks DNS for our name, which may take half a minute
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        _log.debug("http reader went away", client=str(client_address))


class _QuietHandler(WSGIRequestHandler):
    timeout = SLOW_READER_S
    server_version = "triad"
    sys_version = ""

    @override
    def log_message(self, format: str, *args: object) -> None:
        """A probe every second is no news."""

    @override
    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What is not even a request gets the same form of answer as everything else."""
        status = HTTPStatus(code)
        detail = {"type": "about:blank", "title": status.phrase, "status": code, "detail": message or ""}
        body = json.dumps(detail).encode()
        self.request_version = (
            "HTTP/1.0"  # of a line that cannot be read, 0.9 is assumed: no status, no headers
        )
        self.send_response(code)
        self.send_header("Content-Type", "application/problem+json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def make_quiet_server(host: str, port: int, app: WSGIApplication) -> QuietServer:
    """Listening, not serving yet. Raises ``OSError`` when it cannot listen there."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
    server = QuietServer((host, port), family)
    server.set_app(app)
    return server
