"""``triad produce``: frames from a folder, a simulator or standard input into a Kafka topic."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.errors import InputRefused, StageUnavailable
from workers.commands.context import loaded_settings
from workers.exit_codes import EXIT_NOT_ALL_SENT
from workers.picture_files import find_pictures, require_pictures
from workers.terminal import bars, print_json, print_table, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from workers.frame_producer import FrameProducer, OutgoingFrame, PayloadStore
    from workers.frame_sources import BadInput
    from workers.produce_run import Account
    from workers.producer import Producer
    from workers.settings import Settings
    from workers.terminal import Bars

_MEGABYTE = 1024 * 1024
_LONGEST_LINE_BYTES = 256 * _MEGABYTE
_STDIN = "-"
_GRACE_S = 5.0  # beyond what a delivery may take


def produce(
    context: typer.Context,
    source: Annotated[
        str | None,
        typer.Argument(metavar="FOLDER", help="Pictures, or - for JSON lines on standard input."),
    ] = None,
    line: Annotated[str | None, typer.Option(help="The line they come from.")] = None,
    product: Annotated[str | None, typer.Option(help="The product they show; else the line's own.")] = None,
    loop: Annotated[int, typer.Option(min=1, help="Send the folder this many times.")] = 1,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Simulated lines, named line-1 and on.")
    ] = False,
    lines: Annotated[int, typer.Option(min=1, help="How many lines to simulate.")] = 1,
    frames: Annotated[int, typer.Option(min=1, help="Simulated frames per line.")] = 100,
    drawn: Annotated[int, typer.Option(min=1, help="Different pictures that the simulator draws.")] = 200,
    truth: Annotated[Path | None, typer.Option(help="Add the simulator's truth to this file.")] = None,
    fps: Annotated[float | None, typer.Option(min=0.001, help="Frames per second and line.")] = None,
    topic: Annotated[str | None, typer.Option(help="Instead of the one in TRIAD_FRAMES_TOPICS.")] = None,
    partitions: Annotated[
        int | None, typer.Option(min=1, help="Make the topic with so many, if it is not there.")
    ] = None,
    deadline_ms: Annotated[
        int | None, typer.Option(min=1, help="A verdict is wanted within so many milliseconds of exposure.")
    ] = None,
    dataref: Annotated[
        str | None,
        typer.Option(metavar="PREFIX", help="Keep payloads under this URL, and send where they lie."),
    ] = None,
    in_flight_mb: Annotated[int, typer.Option(min=1, help="Wait while more is unacknowledged.")] = 64,
    log_acks: Annotated[
        Path | None, typer.Option(help="Add one JSON line per acknowledged frame to this file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Send frames to Kafka, each with its envelope; none is dropped.

    Sent as fast as they are acknowledged, or at --fps. Stopped by Ctrl-C, it waits for what is on its way and
    says what was acknowledged. A line of JSON has path or data (base64), and may have line, product, part,
    lot, id and more.

    Example: triad produce shift-1/ --line line-3 --product bracket --fps 10 --partitions 8
    """
    settings = loaded_settings(context).settings
    wanted = _Wanted(
        source=source,
        line=line,
        product=product,
        rounds=loop,
        simulates=simulate,
        lines=lines,
        frames_per_line=frames,
        drawn=drawn,
    )
    wanted.check()
    to = _the_topic(settings, topic)
    _require_topic(settings, to, partitions)
    with ExitStack() as stack:
        account = _open_account(stack, log=log_acks, truths=truth)
        producer = _open_producer(stack, settings, to, account, in_flight_mb * _MEGABYTE)
        producer.deadline = None if deadline_ms is None else timedelta(milliseconds=deadline_ms)
        producer.payloads = None if dataref is None else _open_payloads(dataref)
        stopped_by = _send(wanted, producer, account, fps=fps, as_json=as_json)
    if stopped_by is not None:
        raise typer.Exit(128 + stopped_by)
    if account.bad:
        raise typer.Exit(EXIT_NOT_ALL_SENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """Which frames somebody asked for."""

    source: str | None
    line: str | None
    product: str | None
    rounds: int
    simulates: bool
    lines: int
    frames_per_line: int
    drawn: int

    def check(self) -> None:
        """Raises ``InputRefused`` unless exactly one source is named, and there is something in it."""
        if self.simulates == (self.source is not None):
            raise InputRefused("say where frames come from: a FOLDER, - for standard input, or --simulate")
        if self.source not in (None, _STDIN) and not self.line:
            raise InputRefused(f"{self.source}: say with --line which line these pictures come from")
        if self.source not in (None, _STDIN):
            require_pictures([Path(self.source)])

    @property
    def line_count(self) -> int:
        return self.lines if self.simulates else 1

    def frames(
        self, progress: Bars, meanwhile: Callable[[], bool]
    ) -> tuple[Iterable[OutgoingFrame | BadInput], int]:
        """The frames, and how many there will be; 0 where nobody knows."""
        from workers import frame_sources

        if self.source is None:
            from workers.simulated_frames import simulate

            drawn = simulate(
                lines=self.lines,
                frames_per_line=self.frames_per_line,
                drawn=self.drawn,
                progress=lambda done, of: progress("drawing frames", done, of),
            )
            return drawn, self.lines * self.frames_per_line
        if self.source == _STDIN:
            texts = frame_sources.read_lines(
                sys.stdin.fileno(), meanwhile=meanwhile, most_bytes=_LONGEST_LINE_BYTES
            )
            return frame_sources.json_frames(texts, line=self.line, product=self.product), 0
        pictures = find_pictures([Path(self.source)]).pictures
        assert self.line is not None
        sent = frame_sources.folder_frames(pictures, line=self.line, product=self.product, rounds=self.rounds)
        return sent, len(pictures) * self.rounds


def _the_topic(settings: Settings, topic: str | None) -> str:
    named = [each.strip() for each in settings.frames_topics.split(",") if each.strip()]
    if topic is None and len(named) != 1:
        raise InputRefused(f"frames_topics names {len(named)} topics: say with --topic which is meant")
    return topic or named[0]


def _require_topic(settings: Settings, topic: str, partitions: int | None) -> None:
    from workers.kafka_producer import ensure_topic, frames_configs

    there_are = ensure_topic(settings, topic, partitions=partitions, configs=frames_configs(settings))
    if partitions not in (None, there_are):
        say(f"topic {topic} has {there_are} partitions already, and keeps them")


def _open_account(stack: ExitStack, *, log: Path | None, truths: Path | None) -> Account:
    from workers.produce_run import open_account

    return open_account(stack, log=log, truths=truths)


def _open_payloads(prefix: str) -> PayloadStore:
    from workers.payload_folder import open_payload_folder

    return open_payload_folder(prefix)


def _open_producer(
    stack: ExitStack, settings: Settings, topic: str, account: Account, most_in_flight_bytes: int
) -> FrameProducer:
    from workers.frame_producer import FrameProducer
    from workers.kafka_producer import open_producer

    producer = open_producer(settings, delivery_timeout_s=settings.give_up_after_s)
    stack.callback(_close, producer)
    return FrameProducer(
        producer=producer,
        topic=topic,
        most_record_bytes=settings.record_mb * _MEGABYTE,
        most_in_flight_bytes=most_in_flight_bytes,
        ack_timeout_s=producer.delivery_timeout_s + _GRACE_S,
        on_ack=account.acknowledge,
    )


def _close(producer: Producer) -> None:
    """Whatever is to be said of an outage has been said by then."""
    with suppress(StageUnavailable):
        producer.close(timeout_s=_GRACE_S)


def _send(
    wanted: _Wanted, producer: FrameProducer, account: Account, *, fps: float | None, as_json: bool
) -> int | None:
    """Send all, wait for the answers, and tell; gives the signal that ended it early."""
    from workers.pace import Pace
    from workers.produce_run import send_all
    from workers.stop_signals import noted_signals

    def is_stopping() -> bool:
        return asked_to_stop() is not None

    def meanwhile() -> bool:
        producer.collect()
        return is_stopping()

    with bars() as progress:
        frames, total = wanted.frames(progress, meanwhile)
        began = time.monotonic()
        with noted_signals() as asked_to_stop:
            try:
                send_all(
                    frames,
                    producer=producer,
                    account=account,
                    pace=Pace(None if fps is None else fps * wanted.line_count),
                    is_stopping=is_stopping,
                    on_bad=lambda bad: say(f"not sent: {bad.name}: {bad.detail}"),
                    progress=lambda sent: progress("sending frames", sent, max(sent, total)),
                )
            finally:
                try:
                    producer.finish()
                finally:
                    seconds = time.monotonic() - began
                    _tell(producer, account, seconds, is_stopped=is_stopping(), as_json=as_json)
            return asked_to_stop()


def _tell(
    producer: FrameProducer, account: Account, seconds: float, *, is_stopped: bool, as_json: bool
) -> None:
    told = f"{account.acked} of {producer.sent} frames acknowledged in {seconds:.1f} s"
    if producer.unacknowledged:
        told += f"; {producer.unacknowledged} may or may not be in the log"
    if account.bad:
        told += f"; {len(account.bad)} not sent"
    say(f"stopped: {told}" if is_stopped else told)
    spans = sorted(account.partitions.items())
    if as_json:
        body = {
            "topic": producer.topic,
            "source": producer.source,
            "sent": producer.sent,
            "acked": account.acked,
            "unacknowledged": producer.unacknowledged,
            "not_sent": len(account.bad),
            "bytes": producer.sent_bytes,
            "seconds": round(seconds, 3),
            "is_stopped": is_stopped,
            "lines": dict(sorted(account.lines.items())),
            "partitions": {str(number): asdict(span) for number, span in spans},
            "problems": [asdict(bad) for bad in account.bad],
        }
        print_json(body)
        return
    rows = [(producer.topic, number, span.frames, span.first, span.last) for number, span in spans]
    columns = ("topic", "partition", "frames", "first offset", "last offset")
    print_table(columns, rows, right=columns[1:])
