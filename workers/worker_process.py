"""``triad worker``: one process per device, at one queue, until it is asked to end."""

from __future__ import annotations

import threading

import structlog

from storage.schema import BatchKind
from workers.celery_worker import CeleryWorker
from workers.claimant import Claimant
from workers.expert import Models
from workers.process import process_name
from workers.settings import Settings
from workers.tasks import make_app
from workers.watchdog import Watchdog
from workers.wiring import Stores, claimant, works

_log = structlog.get_logger(__name__)

_LOOKS_EVERY_S = 0.2


def run_worker(
    stores: Stores, models: Models, queue: BatchKind, *, stopping: threading.Event, watchdog: Watchdog
) -> None:
    """Answer the doorbell of ``queue`` until ``stopping`` is set; then hand back what is in hand and return.

    An outage of ours (database, broker, log) is waited for. What no later attempt can change is raised: the
    process ends, and whoever runs it starts it again.
    """
    settings: Settings = stores.settings
    name = process_name(queue.value)
    worker: Claimant = claimant(stores, owner=name, is_stopping=stopping.is_set, watchdog=watchdog)
    desk = works(stores, models, worker)[queue.value]
    app = make_app(settings.broker_url.get_secret_value(), {queue.value: desk})
    _log.info("worker started", queue=queue.value, owner=name)
    with CeleryWorker(app, queues=[queue.value], name=name) as celery_worker:
        while not stopping.wait(_LOOKS_EVERY_S):
            if worker.faults.fatal is not None:
                raise worker.faults.fatal
            if not celery_worker.is_alive:
                raise RuntimeError("the Celery worker's thread has ended")
    _log.info("worker stopped", queue=queue.value, owner=name)
