"""Planner, worker and publisher in one process: the whole system on one machine, over one home folder."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

from pipelines.errors import InputRefused
from storage.batches import LIVE_RUN, Backlog, BatchKind, backlog, cursor
from storage.database import reading
from storage.replays import unplanned
from workers.claimant import Faults
from workers.expert import Models
from workers.folder_log import PARTITION
from workers.home import home_lock, owner_prefix
from workers.planner import Planner
from workers.publisher import FileSink, publish_waiting
from workers.replaying import plan_replays
from workers.settings import Settings
from workers.stop_signals import held_signals
from workers.wiring import Stores, claimant, open_stores, plan_bounds, sweeper, works

Progress = Callable[[str, int, int], None]  # what is being done, how many are done, of how many

_RING_AGAIN_S = 1.0  # a doorbell may be lost, so whoever waits rings again


class EmbeddedSystem:
    """Owns its home folder while open: a second process is refused, and leases of a dead one end at once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._owner = stack.enter_context(home_lock(self._settings.home))
            self.stores: Stores = open_stores(self._settings)
            stack.callback(self.stores.engine.dispose)
            # A range waits for nothing: whoever entered the files is waiting for them.
            bounds = replace(plan_bounds(self._settings), batch_wait_s=0.0)
            self._planner = Planner(self.stores.engine, {self.stores.log.log.id: self.stores.log}, bounds)
            if self._settings.is_embedded:  # else workers run elsewhere, and their planner takes back
                self._take_back(others_are_gone=True)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def run_until_done(self, models: Models, progress: Progress = lambda what, done, of: None) -> None:
        """Plan, inspect, reason and publish until nothing is left.

        Whatever ends it early, the worker hands back what it held before this returns.

        Raises:
            StageUnavailable: A service stayed away for ``give_up_after_s``; the next run goes on from here.
            InputRefused: What a recipe names cannot be had.
        """
        require_embedded(self._settings)
        # Celery costs 0.2 s, and a run with nothing to do needs none.
        from workers.celery_worker import CeleryWorker
        from workers.tasks import QUEUES, make_app, ring

        stopping = threading.Event()
        worker = claimant(self.stores, owner=self._owner, is_stopping=stopping.is_set)
        broker_url = self._settings.broker_url.get_secret_value()
        app = make_app(broker_url, works(self.stores, models, worker, log=lambda log_id: self.stores.log))
        bars = _Bars(progress)
        published = FileSink(self.stores.published)
        rung: list[str] = []
        rung_at = 0.0
        with (
            CeleryWorker(app, queues=QUEUES) as celery_worker,
            _set_at_end(stopping),
            held_signals() as obey_signals,
        ):
            while left := self._left(bars):
                self._raise_faults(worker.faults, is_alive=celery_worker.is_alive)
                waiting = _waiting(left)
                if waiting != rung or time.monotonic() - rung_at >= _RING_AGAIN_S:
                    self._take_back(others_are_gone=False)
                    for queue in waiting:
                        ring(app, queue)
                    rung, rung_at = waiting, time.monotonic()
                publish_waiting(self.stores.engine, published)
                time.sleep(self._settings.poll_s)
                obey_signals()
        publish_waiting(self.stores.engine, published)

    def _left(self, bars: "_Bars") -> dict[BatchKind, Backlog] | None:
        """Plan what came in; what is not done yet, or None when everything is."""
        stores = self.stores
        self._planner.plan_once()
        plan_replays(
            stores.engine,
            frames_per_batch=self._settings.frames_per_batch,
            most_open=self._settings.most_planned_batches,
        )
        with reading(stores.engine) as connection:
            left = backlog(connection)
            planned = cursor(connection, run_id=LIVE_RUN, log_id=stores.log.log.id, partition=PARTITION)
            replays = unplanned(connection)
        new = stores.log.end_offset(PARTITION) - planned
        new += sum(each.span.end - each.span.first for each in replays)
        bars.show(left, unplanned=new)
        is_done = new == 0 and all(each.planned + each.leased == 0 for each in left.values())
        return None if is_done else left

    def _take_back(self, *, others_are_gone: bool) -> None:
        """Batches whose worker died: split, handed on, or given up."""
        ours = owner_prefix(self._settings.home)
        sweeper(self.stores, log=lambda log_id: self.stores.log).sweep(
            gone=lambda owners: [each for each in owners if others_are_gone and each.startswith(ours)]
        )

    def _raise_faults(self, faults: Faults, *, is_alive: bool) -> None:
        if faults.fatal is not None:
            raise faults.fatal
        if not is_alive:
            raise RuntimeError("the worker thread has ended")
        outage, since = faults.unavailable, faults.unavailable_since
        is_over = since is not None and time.monotonic() - since >= self._settings.give_up_after_s
        if outage is not None and is_over:
            raise outage


def require_embedded(settings: Settings) -> None:
    """Raises ``InputRefused`` where frames come from Kafka and workers run elsewhere."""
    if not settings.is_embedded:
        raise InputRefused(
            "TRIAD_KAFKA_SERVERS or TRIAD_BROKER_URL is set, so frames come from Kafka and workers run "
            "elsewhere: send a folder with triad produce, or unset both"
        )


def _waiting(left: dict[BatchKind, Backlog]) -> list[str]:
    """The queue that has work and nobody at it. Verdicts come first: rationales are never in a hurry."""
    for kind in (BatchKind.INSPECT, BatchKind.REASON):
        waiting = left[kind]
        if waiting.planned + waiting.leased:
            return [kind.value] if not waiting.leased else []
    return []


@contextmanager
def _set_at_end(event: threading.Event) -> Iterator[None]:
    try:
        yield
    finally:
        event.set()


@dataclass(slots=True)
class _Bars:
    """Progress from the ledger's own numbers: right whoever does the work, and after a restart."""

    progress: Progress
    frames: int = 0  # the most that were ever left
    reasons: dict[str, int] = field(default_factory=lambda: {"done": 0, "left": 0})

    def show(self, left: dict[BatchKind, Backlog], *, unplanned: int) -> None:
        frames = left[BatchKind.INSPECT].frames + unplanned
        self.frames = max(self.frames, frames)
        if self.frames:
            self.progress("inspecting frames", self.frames - frames, self.frames)
        reasons = left[BatchKind.REASON].planned + left[BatchKind.REASON].leased
        self.reasons["done"] += max(0, self.reasons["left"] - reasons)
        self.reasons["left"] = reasons
        if reasons or self.reasons["done"]:
            self.progress("explaining batches", self.reasons["done"], self.reasons["done"] + reasons)
