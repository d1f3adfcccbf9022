"""A proxy before PostgreSQL that cuts connections in the middle of a commit, on either side of it."""

import random
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_COMMIT = b"COMMIT"


@dataclass(slots=True, kw_only=True, eq=False)
class CuttingProxy:
    """One commit in ``one_in`` is cut (in 0, none), in turns before the server sees it and after.

    Nobody behind it can tell the two apart: the connection is gone, and no answer came. Which one is drawn:
    idle processes commit in a fixed round, and every sixth would be the same one's, again and again.
    """

    server: Path
    one_in: int = 0
    port: int = 0
    commits: int = 0
    lost_commits: int = 0  # the server never saw them
    lost_answers: int = 0  # it did, and committed
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _draws: random.Random = field(default_factory=lambda: random.Random(5))

    def serve(self, client: socket.socket) -> None:
        """One connection, until either side or we end it."""
        with client, socket.socket(socket.AF_UNIX) as server:
            try:
                server.connect(str(self.server))
                while self._pass_on(client, server):
                    pass
            except OSError:
                pass

    def _pass_on(self, client: socket.socket, server: socket.socket) -> bool:
        ready, _, _ = select.select([client, server], [], [])
        if client in ready:
            said = client.recv(65536)
            cut = self._cut_at(said)
            if not said or cut == "commit":
                return False
            server.sendall(said)
            if cut == "answer":
                server.recv(65536)
                return False
        if server in ready:
            answered = server.recv(65536)
            if not answered:
                return False
            client.sendall(answered)
        return True

    def _cut_at(self, said: bytes) -> str | None:
        if _COMMIT not in said:
            return None
        with self._lock:
            self.commits += 1
            if not self.one_in or self._draws.randrange(self.one_in):
                return None
            if self.lost_commits > self.lost_answers:
                self.lost_answers += 1
                return "answer"
            self.lost_commits += 1
            return "commit"


@contextmanager
def cutting_proxy(server: Path) -> Iterator[CuttingProxy]:
    """Listens on ``port`` while the block lasts; its threads end with their connections."""
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = CuttingProxy(server=server, port=int(listener.getsockname()[1]))

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=proxy.serve, args=(client,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(timeout=5)
