"""A Celery worker in a thread: the main thread keeps the signals, and decides when it is over."""

import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from celery import Celery
from celery.worker import WorkController
from celery.worker import state as worker_state

from pipelines.errors import StageUnavailable
from workers.tasks import Doorbell

_START_S, _STOP_S = 10.0, 30.0


class CeleryWorker:
    """Celery's consumer in a daemon thread, for as long as the block lasts; ``at_once`` tasks beside it.

    Never processes of Celery's own, because a device belongs to one process, and whoever wants more starts
    more. One per process at a time: Celery keeps the order to stop in a global. ``name`` is for people who
    look at Celery.
    """

    def __init__(
        self, app: Celery, *, queues: Sequence[str], name: str = "embedded@localhost", at_once: int = 1
    ) -> None:
        self._app = app
        self._queues = tuple(queues)
        ready = threading.Event()

        class Worker(WorkController):  # type: ignore[misc]  # Celery ships no types
            def on_consumer_ready(self, consumer: Any) -> None:
                ready.set()

        # Whatever fails in a task is in the ledger and in our own log; Celery would print it again.
        logging.getLogger("celery").setLevel(logging.CRITICAL)
        # "Couldn't ack", with a stack trace: a ring that comes twice is no harm.
        logging.getLogger("celery.worker.request").setLevel(logging.CRITICAL + 1)
        worker_state.should_stop = None
        worker = Worker(
            app=app,
            pool="threads",  # solo works in the event loop itself, which may sleep with its answers unsent
            concurrency=at_once,
            queues=list(queues),
            hostname=name,
            without_heartbeat=True,
            without_mingle=True,
            without_gossip=True,
        )
        self._thread = threading.Thread(target=lambda: self._run(worker), name="worker", daemon=True)
        self._ready = ready

    def __enter__(self) -> Self:
        self._thread.start()
        if self._is_here and not self._ready.wait(_START_S):
            raise RuntimeError("the embedded Celery worker did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        worker_state.should_stop = 0
        for _ in range(2):  # it waits for one more message, or ten seconds, even when told to stop
            with suppress(StageUnavailable):
                Doorbell(self._app).ring(self._queues[0])
        self._thread.join(_STOP_S)
        worker_state.should_stop = None

    def _run(self, worker: WorkController) -> None:
        # Celery looks a task up in its thread's app, or else in the process's, and not in the worker's.
        self._app.set_current()
        self._app.set_default()
        worker.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def is_ready(self) -> bool:
        """Whether it has reached its broker since it started."""
        return self._ready.is_set()

    @property
    def _is_here(self) -> bool:
        """A broker in this process is always there; any other may come later, and is waited for."""
        return bool(self._app.conf.broker_url.startswith("memory:"))
