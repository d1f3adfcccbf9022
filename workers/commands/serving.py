"""``triad planner``, ``worker`` and ``publisher``: the processes of the distributed system."""

from enum import StrEnum
from typing import Annotated

import typer

from workers.commands.context import loaded_settings


class Queue(StrEnum):
    """`BatchKind`, whose own module brings the database's libraries: `--help` does not wait for them."""

    INSPECT = "inspect"
    REASON = "reason"


Port = Annotated[int | None, typer.Option(min=0, max=65_535, help="Serve health and metrics here.")]


def planner(context: typer.Context, http_port: Port = None) -> None:
    """Plan ranges of the frames' topics, take back what dead workers held, and ring for workers.

    Runs until SIGTERM or Ctrl-C. Any number may run; each also keeps the partitions of verdicts made.

    Example: triad planner --http-port 9101
    """
    from workers.processes import run_planner

    run_planner(loaded_settings(context, http_port=http_port).settings)


def worker(
    context: typer.Context,
    queue: Annotated[Queue, typer.Option(help="What it does: fast verdicts, or rationales.")],
    http_port: Port = None,
) -> None:
    """Inspect frames, or explain verdicts, as long as there are any; one process per device.

    Runs until SIGTERM or Ctrl-C, and then hands back what it had not finished. Exits with 70 when its device
    hangs: have it started again.

    Example: triad worker --queue inspect
    """
    from storage.schema import BatchKind
    from workers.processes import run_worker

    run_worker(loaded_settings(context, http_port=http_port).settings, BatchKind(queue))


def publisher(context: typer.Context, http_port: Port = None) -> None:
    """Publish verdicts, amendments and dead letters to their topics, in order per line.

    Runs until SIGTERM or Ctrl-C. Any number may run: they share the lines.

    Example: triad publisher
    """
    from workers.processes import run_publisher

    run_publisher(loaded_settings(context, http_port=http_port).settings)


def migrate(context: typer.Context) -> None:
    """Bring the database's schema up to date; every command does so too, this one does nothing else.

    Example: triad migrate
    """
    from storage.database import migrate as bring_up_to_date
    from storage.database import open_database

    settings = loaded_settings(context).settings
    settings.home.mkdir(parents=True, exist_ok=True)
    engine = open_database(settings.database)
    bring_up_to_date(engine)
    engine.dispose()


topics_app = typer.Typer(help="The topics of this installation.", no_args_is_help=True)


@topics_app.command("create")
def create_topics(
    context: typer.Context,
    partitions: Annotated[int, typer.Option(min=1, help="Of each topic that is not there yet.")],
) -> None:
    """Make the topics of frames, verdicts and dead letters that are not there yet; changes no other.

    Example: triad topics create --partitions 8
    """
    from workers.kafka_producer import ensure_topic, frames_configs
    from workers.terminal import say

    settings = loaded_settings(context).settings
    frames = [name.strip() for name in settings.frames_topics.split(",") if name.strip()]
    wanted = dict.fromkeys(frames, frames_configs(settings))
    wanted |= {settings.verdicts_topic: {}, settings.dead_letters_topic: {}}
    for topic, configs in wanted.items():
        found = ensure_topic(settings, topic, partitions=partitions, configs=configs)
        say(f"{topic}: {found} partitions")


@topics_app.command("resume")
def resume_topic(
    context: typer.Context, topic: Annotated[str, typer.Argument(help="The topic of frames.")]
) -> None:
    """Plan a topic again that was stopped because its frames were dead letters.

    It stops again where the frames to come are no better. What became a dead letter stays one.

    Example: triad topics resume frames.local
    """
    from pipelines.errors import InputRefused
    from storage.database import transaction
    from storage.logs import newest_log
    from storage.partition_stats import forgive
    from storage.schema import LogKind
    from workers.terminal import say
    from workers.wiring import open_stores

    stores = open_stores(loaded_settings(context).settings)
    with transaction(stores.engine) as connection:
        log = newest_log(connection, kind=LogKind.KAFKA, name=topic)
        if log is None:
            raise InputRefused(f"no topic {topic!r} was ever read; TRIAD_FRAMES_TOPICS names those that are")
        partitions = forgive(connection, log.id)
    say(f"{topic}: dead letters are counted anew, in {partitions} partitions")
