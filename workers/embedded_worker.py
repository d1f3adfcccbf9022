"""A Celery worker in a thread of this process, for brokers that only this process can see."""

import logging
import threading
from types import TracebackType
from typing import Any, Self

from celery import Celery
from celery.worker import WorkController
from celery.worker import state as worker_state

from workers.tasks import QUEUES, ring

_START_S, _STOP_S = 10.0, 30.0


class EmbeddedWorker:
    """The solo pool in a daemon thread; signals stay with the main thread.

    One per process at a time: Celery keeps the order to stop in a global.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        ready = threading.Event()

        class Worker(WorkController):  # type: ignore[misc]  # Celery ships no types
            def on_consumer_ready(self, consumer: Any) -> None:
                ready.set()

        # Whatever fails in a task is in the ledger and in our own log; Celery would print it again.
        logging.getLogger("celery").setLevel(logging.CRITICAL)
        worker_state.should_stop = None
        worker = Worker(
            app=app,
            pool="solo",
            concurrency=1,
            queues=list(QUEUES),
            hostname="embedded@localhost",
            without_heartbeat=True,
            without_mingle=True,
            without_gossip=True,
        )
        self._thread = threading.Thread(target=lambda: self._run(worker), name="worker", daemon=True)
        self._ready = ready

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(_START_S):
            raise RuntimeError("the embedded Celery worker did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        worker_state.should_stop = 0
        for _ in range(2):  # Celery waits for one more message, or two seconds, even when told to stop
            ring(self._app, QUEUES[0])
        self._thread.join(_STOP_S)
        worker_state.should_stop = None

    def _run(self, worker: WorkController) -> None:
        self._app.set_current()  # of this thread: Celery looks its tasks up there, not in the worker's app
        worker.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()
