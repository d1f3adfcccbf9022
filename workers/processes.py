"""The processes of the distributed system, each until it is asked to end. Any number of each may run."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from pipelines.errors import InputRefused, StageUnavailable
from storage.batches import backlog
from storage.database import reading, transaction
from storage.partitions import ensure_partitions
from storage.schema import BatchKind
from workers.celery_worker import CeleryWorker
from workers.chores import Chore, run_chores
from workers.golden_view import GoldenView
from workers.heap import steady_heap
from workers.kafka_sink import open_kafka_sink
from workers.offset_export import OffsetExport
from workers.planner_view import PlannerView
from workers.process import process_name
from workers.publisher import Publisher
from workers.replaying import plan_replays
from workers.settings import Settings
from workers.stop_signals import stop_event
from workers.tasks import Doorbell, make_app
from workers.telemetry import Telemetry, serving, telemetry
from workers.unrung import Unrung
from workers.watchdog import Watchdog
from workers.wiring import (
    Stores,
    claimant,
    golden_checker,
    golden_sender,
    kafka_logs,
    live_planner,
    load_models,
    open_stores,
    sweeper,
    works,
)

if TYPE_CHECKING:
    from workers.health_checks import Check

_log = structlog.get_logger(__name__)

EXIT_HUNG = 70  # EX_SOFTWARE: whoever runs the process starts it again

_LOOKS_EVERY_S = 0.2
_SWEEP_S, _SHOW_S, _EXPORT_S, _UPKEEP_S = 1.0, 2.0, 5.0, 3600.0
_LONGEST_IDLE_S = 60.0  # a line's publisher waits for Kafka with the line's lock in hand
_MOST_RINGS = 64  # waiting in one queue: a worker that found work rings itself again


def run_planner(settings: Settings) -> None:
    """Plan what came in, take back what was left behind, and ring."""
    require_distributed(settings)
    with _process(settings, "planner") as (stores, shown, stopping):
        logs = kafka_logs(stores, on_open=shown.metrics.know_topic)
        planner = live_planner(stores, logs)
        sweeping = sweeper(stores, log=logs.log, watch=shown.watch)
        bell = Doorbell(make_app(settings.broker_url.get_secret_value(), {}))
        view = PlannerView(engine=stores.engine, registry=shown.registry)
        export = OffsetExport(engine=stores.engine, settings=settings)

        def plan() -> None:
            live = logs.live()
            for log_id in logs.gone():
                shown.watch.lost_unplanned({log_id: planner.give_up(log_id)})
                logs.forget(log_id)
            planner.watch_only(live)
            planned = planner.plan_once()
            shown.watch.lost_unplanned(planned.lost_by_log)
            view.planned(planned, logs.names())

        def ring() -> None:
            with reading(stores.engine) as connection:
                waiting = backlog(connection)
            for kind in BatchKind:
                if waiting[kind].planned:
                    bell.ring_up_to(kind.value, min(waiting[kind].planned, _MOST_RINGS))

        def make_partitions() -> None:
            with transaction(stores.engine) as connection:
                ensure_partitions(connection)

        def replay() -> None:
            plan_replays(
                stores.engine,
                frames_per_batch=settings.frames_per_batch,
                most_open=settings.most_planned_batches,
            )

        golden_view = GoldenView(
            engine=stores.engine, metrics=view.ledger, is_sending=settings.golden_every_s > 0
        )
        chores = [
            Chore(name="partitions", every_s=_UPKEEP_S, do=make_partitions),
            Chore(name="plan", every_s=settings.poll_s, do=plan),
            Chore(name="replays", every_s=_SWEEP_S, do=replay),
            Chore(name="ring", every_s=settings.poll_s, do=ring),
            Chore(name="sweep", every_s=_SWEEP_S, do=sweeping.sweep, on_outage=sweeping.outage),
            Chore(name="show", every_s=_SHOW_S, do=view.observe),
            Chore(name="export offsets", every_s=_EXPORT_S, do=lambda: export.export(logs.names())),
            *_golden_chores(stores, golden_view),
        ]
        ready = {chore.name: _answers(chore) for chore in chores if chore.name in ("plan", "ring", "sweep")}
        # Words for people: this process is as ready as it can be.
        ready |= {"partitions": view.stopped, "golden parts": golden_view.health}
        with (
            closing(logs),
            serving(settings, shown, live={}, ready=ready, is_draining=stopping.is_set),
        ):
            run_chores(chores, stopping)


def _golden_chores(stores: Stores, view: GoldenView) -> list[Chore]:
    checker, sender, every_s = golden_checker(stores), golden_sender(stores), stores.settings.golden_every_s

    def send() -> None:
        try:
            sender.send_if_due(timedelta(seconds=every_s))
        except InputRefused as refusal:  # a line without a topic is no reason to plan nothing
            _log.error("golden parts not sent", why=str(refusal))

    chores = [
        Chore(name="check golden parts", every_s=_SWEEP_S, do=lambda: view.closed(checker.check())),
        Chore(name="show golden parts", every_s=_SHOW_S, do=view.observe),
    ]
    if every_s:
        chores.append(Chore(name="send golden parts", every_s=min(every_s, _EXPORT_S), do=send))
    return chores


def run_worker(settings: Settings, queue: BatchKind) -> None:
    """Answer the doorbell of one queue; when asked to end, hand back what is in hand.

    One process per device. An outage of ours (database, broker, log) is waited for; what no later attempt
    can change is raised and ends the process.
    """
    require_distributed(settings)
    # A worker that is stopped before its claim is committed holds the range back no longer than one after it.
    idle_limit_s = min(settings.lease_s, _LONGEST_IDLE_S)
    with _process(settings, queue.value, idle_limit_s=idle_limit_s) as (stores, shown, stopping):
        logs = kafka_logs(stores, on_open=shown.metrics.know_topic)
        models = load_models(stores, shown.watch)
        watchdog = Watchdog(limit_s=settings.hard_limit_s, on_hang=lambda: os._exit(EXIT_HUNG))
        name = process_name(queue.value)
        worker = claimant(
            stores, owner=name, is_stopping=stopping.is_set, watchdog=watchdog, watch=shown.watch
        )
        unrung = Unrung(works(stores, models, worker, log=logs.log)[queue.value])
        app = make_app(settings.broker_url.get_secret_value(), {queue.value: unrung.rung})
        is_warm = threading.Event()
        celery_worker = CeleryWorker(app, queues=[queue.value], name=name, at_once=settings.ranges_at_once)
        ready: dict[str, Check] = {
            "database": lambda: _database_answers(stores),
            "broker": lambda: _broker_answers(Doorbell(app), queue),
            "models": lambda: _is_set(is_warm, "the weights are loaded"),
            "parity": models.parity,
        }
        live = {"device": lambda: _is_not_hanging(watchdog)}
        with ExitStack() as stack:
            stack.callback(logs.close)
            stack.enter_context(serving(settings, shown, live=live, ready=ready, is_draining=stopping.is_set))
            models.warm_up(is_reasoning=queue is BatchKind.REASON)
            is_warm.set()
            stack.enter_context(unrung)
            stack.enter_context(celery_worker)
            while not stopping.wait(_LOOKS_EVERY_S):
                if worker.faults.fatal is not None:
                    raise worker.faults.fatal
                if not celery_worker.is_alive:
                    raise RuntimeError("the Celery worker's thread has ended")
                unrung.look()


def run_publisher(settings: Settings) -> None:
    """Tell the outside what the outbox holds, in order per line."""
    require_distributed(settings)
    with _process(settings, "publisher") as (stores, shown, stopping):
        publisher = Publisher(
            engine=stores.engine,
            sink=open_kafka_sink(settings),
            poll=timedelta(seconds=settings.poll_s),
            backoff=timedelta(seconds=settings.backoff_s),
            watch=shown.watch,
        )

        def is_publishing() -> str:
            if publisher.faults.unavailable is not None:
                raise publisher.faults.unavailable
            return "publishing"

        ready: dict[str, Check] = {"publish": is_publishing}
        with serving(settings, shown, live={}, ready=ready, is_draining=stopping.is_set):
            publisher.run(stopping.is_set)


def require_distributed(settings: Settings) -> None:
    """Raises ``InputRefused`` where the settings describe the embedded system."""
    if settings.kafka_servers is None:
        raise InputRefused("TRIAD_KAFKA_SERVERS is not set: this process reads frames from Kafka")
    if settings.broker_url.get_secret_value().startswith("memory:"):
        raise InputRefused(
            "TRIAD_BROKER_URL is memory://, which no other process sees: give Redis or RabbitMQ"
        )
    if settings.database_url is None:
        raise InputRefused("TRIAD_DATABASE_URL is not set: several processes need PostgreSQL")


@contextmanager
def _process(
    settings: Settings, role: str, *, idle_limit_s: float = _LONGEST_IDLE_S
) -> Iterator[tuple[Stores, Telemetry, threading.Event]]:
    """What each of them is made of: stores, telemetry, and an event that says when to end."""
    steady_heap()
    with telemetry(settings, role) as shown, stop_event() as stopping:
        stores = open_stores(settings, idle_limit_s=idle_limit_s)
        _log.info("started", role=role)
        try:
            yield stores, shown, stopping
        finally:
            stores.engine.dispose()
            _log.info("stopped", role=role)


def _answers(chore: Chore) -> Check:
    def check() -> str:
        if chore.last_error is not None:
            raise StageUnavailable(chore.last_error)
        if not chore.is_begun:
            raise StageUnavailable("not done yet")
        return "done"

    return check


def _database_answers(stores: Stores) -> str:
    with reading(stores.engine) as connection:
        backlog(connection)
    return "answers"


def _is_set(event: threading.Event, words: str) -> str:
    if not event.is_set():
        raise StageUnavailable("not yet")
    return words


def _broker_answers(bell: Doorbell, queue: BatchKind) -> str:
    bell.reach(queue.value)
    return "answers"


def _is_not_hanging(watchdog: Watchdog) -> str:
    if watchdog.is_hanging:
        raise StageUnavailable("the model has not answered for longer than TRIAD_HARD_LIMIT_S")
    return "answers"
