"""The doorbell: Celery tasks that say no more than which queue has work; the database says what it is."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from pipelines.errors import StageUnavailable

TASK_NAME = "triadline.work"
QUEUES = ("inspect", "reason")

_BROKER_S = 5.0

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
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=True,  # of late acknowledgement: we have none
        worker_enable_remote_control=False,  # else whoever can write to the broker can end our workers
        worker_proc_alive_timeout=600,  # a replacement child may load models for longer than Celery's 4 s
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # for ever: a broker that comes back finds its workers waiting
        broker_transport_options={"socket_timeout": 5.0, "socket_connect_timeout": 5.0},
    )
    if broker_url.startswith("amqp"):
        app.conf.broker_transport_options = {"confirm_publish": True}  # else a count misses the last rings
    if broker_url.startswith("memory:"):
        app.conf.broker_transport_options = {"polling_interval": 0.01}  # the default makes each task wait 1 s

    @app.task(name=TASK_NAME, ignore_result=True, shared=False)  # type: ignore[untyped-decorator]
    def work(queue: str) -> None:
        if works[queue]():
            ring(app, queue)  # more may wait; a ring too many costs one query

    return app


def ring(app: Celery, queue: str, **how: Any) -> None:
    """Say that ``queue`` may have work; ``how`` is for Celery's ``send_task``."""
    app.send_task(TASK_NAME, args=[queue], queue=queue, ignore_result=True, **how)


@dataclass(frozen=True, slots=True, eq=False)
class Doorbell:
    """Rings at a broker that others answer at, and no more often than they can have use for."""

    app: Celery

    def ring(self, queue: str) -> None:
        """Ring once more, however many wait. Raises ``StageUnavailable`` when the broker is away."""
        with self._connection() as connection:
            ring(self.app, queue, connection=connection, retry=False)

    def reach(self, queue: str) -> None:
        """Raises ``StageUnavailable`` unless the broker answers now."""
        self.ring_up_to(queue, 0)

    def ring_up_to(self, queue: str, times: int) -> int:
        """Have up to ``times`` rings wait in ``queue``; how many were added.

        Nobody may be there to answer for days, so rings are topped up and not piled up.

        Raises:
            StageUnavailable: The broker does not answer. Nothing is lost: the ledger knows what waits.
        """
        with self._connection() as connection:
            wanted = times - self._waiting(connection, queue)
            for _ in range(wanted):
                ring(self.app, queue, connection=connection, retry=False)
        return max(0, wanted)

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        try:
            with self.app.pool.acquire(block=True, timeout=_BROKER_S) as connection:
                connection.ensure_connection(max_retries=1, timeout=_BROKER_S)
                yield connection
        except self._outages as error:
            raise StageUnavailable(f"Celery broker: {str(error) or type(error).__name__}") from error

    @property
    def _outages(self) -> tuple[type[Exception], ...]:
        """What the broker's own client raises when it is away; asking makes no connection."""
        client = self.app.connection_for_write()
        return OperationalError, *client.connection_errors, *client.channel_errors

    def _waiting(self, connection: Any, queue: str) -> int:
        with connection.channel() as channel:
            declared = self.app.amqp.queues[queue].bind(channel).queue_declare(passive=False)
        return int(declared.message_count)
