"""The only place that puts parts together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from storage.database import migrate, open_database
from storage.knowledge import StoredKnowledge
from storage.lines import StoredLines
from storage.pictures import PictureStore
from storage.schema import LogKind
from workers.claimant import Claimant
from workers.expert import Models
from workers.folder_log import FolderLog, open_folder_log
from workers.frame_log import FrameLog
from workers.inspect_range import InspectDesk
from workers.plan_room import PlanBounds
from workers.planner import Planner
from workers.reading_ahead import ReadingAhead
from workers.reason_range import ReasonDesk
from workers.reason_room import ReasonRoom
from workers.settings import Settings
from workers.sweeper import Sweeper
from workers.watch import Watch
from workers.watchdog import Watchdog

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from workers.golden_checking import GoldenChecker
    from workers.golden_parts import GoldenShelf
    from workers.golden_sending import GoldenSender
    from workers.kafka_logs import KafkaLogs
    from workers.loaded_models import LoadedModels
    from workers.new_revision import Revising
    from workers.products import ProductShelf
    from workers.tasks import Work

MEGABYTE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stores:
    """What is kept, opened: the database (migrated), pictures, fitted memories, and the log of files."""

    settings: Settings
    engine: Engine
    pictures: PictureStore
    memories: PictureStore
    log: FolderLog

    @property
    def published(self) -> Path:
        """Where the embedded system publishes: JSON lines, in order per line."""
        return self.settings.home / "verdicts.jsonl"

    @property
    def reports(self) -> Path:
        return self.settings.home / "reports"


def open_stores(settings: Settings, *, idle_limit_s: float = 0.0) -> Stores:
    """Open everything that is kept; makes the home folder and brings the schema up to date."""
    settings.home.mkdir(parents=True, exist_ok=True)
    engine = open_database(settings.database, idle_limit_s=idle_limit_s)
    migrate(engine)
    return Stores(
        settings=settings,
        engine=engine,
        pictures=PictureStore(settings.home / "pictures"),
        memories=PictureStore(settings.home / "memories"),
        log=open_folder_log(engine),
    )


def load_models(stores: Stores, watch: Watch | None = None) -> LoadedModels:
    """Nothing is read yet: each model is loaded by whoever first needs it."""
    from workers.loaded_models import LoadedModels

    return LoadedModels(
        engine=stores.engine,
        memories=stores.memories,
        device=stores.settings.device,
        backbone=stores.settings.backbone,
        watch=watch or Watch(),
    )


def product_shelf(stores: Stores, models: LoadedModels, *, features: Path | None = None) -> ProductShelf:
    """Where products are added; no model is loaded before one is needed, Triad only for what it knows.

    ``features`` is a backbone's folder, for these products in place of the installation's.
    """
    from pipelines.triad.manifest import read_manifest
    from workers.products import ProductShelf

    return ProductShelf(
        engine=stores.engine,
        pictures=stores.pictures,
        memories=stores.memories,
        profile=stores.settings.profile,
        networks=models.networks(features or stores.settings.backbone),
        reasoner=read_manifest(),
    )


def log_kind(settings: Settings) -> LogKind:
    """Which logs the processes of this installation read: ranges of others are not for them."""
    return LogKind.FOLDER if settings.kafka_servers is None else LogKind.KAFKA


def claimant(
    stores: Stores,
    *,
    owner: str,
    is_stopping: Callable[[], bool],
    watchdog: Watchdog | None = None,
    watch: Watch | None = None,
) -> Claimant:
    return Claimant(
        engine=stores.engine,
        owner=owner,
        lease=timedelta(seconds=stores.settings.lease_s),
        backoff=timedelta(seconds=stores.settings.backoff_s),
        log_kind=log_kind(stores.settings),
        is_stopping=is_stopping,
        watchdog=watchdog,
        watch=watch or Watch(),
    )


def sweeper(stores: Stores, *, log: Callable[[int], FrameLog], watch: Watch | None = None) -> Sweeper:
    return Sweeper(
        engine=stores.engine,
        log=log,
        pictures=stores.pictures,
        attempt_limit=stores.settings.attempt_limit,
        log_kind=log_kind(stores.settings),
        grace_s=stores.settings.lease_s / 2,  # a living worker renews every third of a lease
        watch=watch or Watch(),
    )


def golden_sender(stores: Stores) -> GoldenSender:
    """Where frames come from Kafka."""
    from workers.golden_producer import producer_to
    from workers.golden_sending import GoldenSender, topic_for

    lines = StoredLines(stores.engine)
    topics = [each.strip() for each in stores.settings.frames_topics.split(",") if each.strip()]
    return GoldenSender(
        engine=stores.engine,
        pictures=stores.pictures,
        topic_of=topic_for(lambda line: lines.line(line).site, topics),
        open_producer=producer_to(stores.settings),
    )


def golden_checker(stores: Stores) -> GoldenChecker:
    from workers.golden_checking import GoldenChecker

    return GoldenChecker(engine=stores.engine, wait=timedelta(seconds=stores.settings.golden_wait_s))


def golden_shelf(stores: Stores, models: Models) -> GoldenShelf:
    """Where golden parts are added."""
    from workers.golden_parts import GoldenShelf

    return GoldenShelf(engine=stores.engine, pictures=stores.pictures, models=models)


def revising(stores: Stores, models: LoadedModels) -> Revising:
    """What makes new recipes of products that are there."""
    from workers.new_revision import Revising

    return Revising(shelf=product_shelf(stores, models), golden=golden_shelf(stores, models))


def plan_bounds(settings: Settings) -> PlanBounds:
    return PlanBounds(
        frames_per_batch=settings.frames_per_batch,
        batch_bytes=settings.batch_mb * MEGABYTE,
        batch_wait_s=settings.batch_wait_s,
        most_planned_batches=settings.most_planned_batches,
        most_planned_bytes=settings.most_planned_mb * MEGABYTE,
        most_unpublished=settings.most_unpublished,
    )


def kafka_logs(stores: Stores, *, on_open: Callable[[int, str], None]) -> KafkaLogs:
    """``on_open`` is told the ledger's id and the topic of each log that is opened."""
    from workers.kafka_logs import KafkaLogs

    lines = StoredLines(stores.engine)
    return KafkaLogs(engine=stores.engine, settings=stores.settings, line=lines.line, on_open=on_open)


def live_planner(stores: Stores, logs: KafkaLogs) -> Planner:
    """A planner of what the topics are at each look: give it ``logs.live()`` before."""
    bounds = replace(plan_bounds(stores.settings), stop_ratio=stores.settings.stop_ratio)
    return Planner(stores.engine, {}, bounds, on_cut_back=logs.cut_back)


def works(
    stores: Stores, models: Models, worker: Claimant, *, log: Callable[[int], FrameLog]
) -> Mapping[str, Work]:
    """What a ring of each queue sets in motion, from any thread; ``log`` is by the ledger's id."""
    device = threading.Lock()
    inspecting = InspectDesk(
        claimant=worker,
        log=log,
        reading_ahead=ReadingAhead(
            lines=StoredLines(stores.engine),
            most_bytes=stores.settings.reads_mb * MEGABYTE // stores.settings.ranges_at_once,
            watch=worker.watch,
        ),
        models=models,
        pictures=stores.pictures,
        attempt_limit=stores.settings.attempt_limit,
        stop_ratio_frames=stores.settings.stop_ratio_frames,
        has_reason_room=ReasonRoom(
            engine=stores.engine, most=stores.settings.most_waiting_rationales
        ).is_open,
        device=device,
    )
    reasoning = ReasonDesk(
        claimant=worker,
        models=models,
        pictures=stores.pictures,
        knowledge=StoredKnowledge(stores.engine),
        attempt_limit=stores.settings.attempt_limit,
        device=device,
    )
    return {"inspect": inspecting.inspect_next, "reason": reasoning.reason_next}
