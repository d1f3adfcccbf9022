"""The doorbell: Celery tasks that say no more than which queue has work; the database says what it is."""

from collections.abc import Callable, Mapping

from celery import Celery

TASK_NAME = "triadline.work"
QUEUES = ("inspect", "reason")

Work = Callable[[], bool]  # claims and does one batch; False when there was nothing to claim


def make_app(broker_url: str, works: Mapping[str, Work]) -> Celery:
    """The Celery app of one process. ``works`` is what a ring of each queue sets in motion.

    Losing any task, or all of them, loses nothing: whoever watches the ledger rings again.
    """
    if broker_url.startswith("memory:"):
        broker_url = "memory://localhost/"  # without a host kombu warns at every connection
    app = Celery("triadline", broker=broker_url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_acks_late=False,  # the batch's row, not the broker, says what is still to do
        task_ignore_result=True,
        task_default_queue=QUEUES[0],
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_proc_alive_timeout=600,  # a replacement child may load models for longer than Celery's 4 s
        broker_connection_retry_on_startup=True,
    )
    if broker_url.startswith("memory:"):
        app.conf.broker_transport_options = {"polling_interval": 0.01}  # the default makes each task wait 1 s

    @app.task(name=TASK_NAME, ignore_result=True, shared=False)  # type: ignore[untyped-decorator]
    def work(queue: str) -> None:
        if works[queue]():
            ring(app, queue)  # more may wait; a ring too many costs one query

    return app


def ring(app: Celery, queue: str) -> None:
    """Say that ``queue`` may have work."""
    app.send_task(TASK_NAME, args=[queue], queue=queue, ignore_result=True)
