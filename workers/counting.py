"""Facts become numbers: the watcher behind /metrics."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

from typing_extensions import override

from pipelines.errors import RejectReason, StageUnavailable
from storage.batches import LIVE_RUN, BatchKind, Claim, Expired
from storage.dead_letters import DeadLetterRow
from storage.verdicts import VerdictRow
from workers.metrics import Metrics
from workers.watch import Explained, Inspected, Stage, Watch


class Counting(Watch):
    """Counts what it is told on a process's metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics

    @override
    def stage(self, stage: Stage) -> AbstractContextManager[None]:
        timer: AbstractContextManager[None] = self.metrics.stage_duration.labels(stage).time()
        return timer

    @override
    def batch_claimed(self, claim: Claim, *, at: datetime) -> None:
        waited = max(0.0, (at - claim.planned_at).total_seconds())
        self.metrics.queue_wait.labels(claim.kind).observe(waited)
        self.metrics.frames_in_flight.inc(_frames(claim))

    @override
    def batch_left(self, claim: Claim) -> None:
        self.metrics.frames_in_flight.dec(_frames(claim))

    @override
    def batch_inspected(self, claim: Claim, done: Inspected) -> None:
        metrics = self.metrics
        if claim.run_id != LIVE_RUN:  # old frames once more: their lateness and losses are nobody's alarm
            metrics.replayed_frames.inc(len(done.verdicts) + len(done.dead_letters))
            return
        # A golden part is no part of production: it would hide that a line is silent, and move its yield.
        production = [row for row in done.verdicts if row.golden_part is None]
        for row in production:
            self._count_verdict(row, done.decided_at)
        for row in done.verdicts:
            metrics.frames_received.labels(metrics.line(row.line)).inc()
        for letter in done.dead_letters:
            self._count_dead_letter(letter)
        self._tell_skew(production)
        metrics.duplicates.inc(done.repeats)
        metrics.lost_frames.labels(metrics.topic(claim.log_id)).inc(done.lost)

    @override
    def lost_unplanned(self, lost: Mapping[int, int]) -> None:
        for log_id, frames in lost.items():
            self.metrics.lost_frames.labels(self.metrics.topic(log_id)).inc(frames)

    @override
    def inspection_given_up(self, claim: Claim, done: Inspected) -> None:
        self.batch_inspected(claim, done)

    @override
    def batch_explained(self, claim: Claim, explained: Sequence[Explained], *, seconds: float) -> None:
        for each in explained:
            self.metrics.explanations.labels(each).inc()
            self.metrics.explanation_duration.observe(seconds / len(explained))

    @override
    def rationale_given_up(self, claim: Claim) -> None:
        self.metrics.explanations.labels(Explained.GIVEN_UP).inc(len(claim.offsets))

    @override
    def handed_back(self, claim: Claim, error: BaseException | None) -> None:
        self.metrics.hand_backs.labels(claim.kind).inc()

    @override
    def claim_lost(self, claim: Claim) -> None:
        self.metrics.claims_lost.labels(claim.kind).inc()

    @override
    def stage_unavailable(self, error: StageUnavailable) -> None:
        self.metrics.stage_unavailable.inc()

    @override
    def leases_expired(self, expired: Expired) -> None:
        self.metrics.leases_expired.labels("returned").inc(len(expired.returned))
        self.metrics.leases_expired.labels("split").inc(len(expired.split))
        self.metrics.leases_expired.labels("exhausted").inc(len(expired.exhausted))

    @override
    def published(self, messages: int) -> None:
        self.metrics.messages_published.inc(messages)

    @override
    def model_loaded(self, model: str, *, version: str, digest: str) -> None:
        self.metrics.model_info.labels(model, version, digest).set(1)

    def _count_verdict(self, row: VerdictRow, decided_at: datetime) -> None:
        metrics = self.metrics
        line = metrics.line(row.line)
        metrics.verdicts.labels(line, row.outcome).inc()
        metrics.last_verdict_timestamp.labels(line).set(decided_at.timestamp())
        if row.captured_at is not None:  # by the camera's clock, which may run ahead of ours
            latency = max(0.0, (decided_at - row.captured_at).total_seconds())
            metrics.verdict_latency.labels(line).observe(latency)
        if row.expires_at is not None and decided_at > row.expires_at:
            metrics.verdict_deadline_missed.labels(line).inc()

    def _count_dead_letter(self, letter: DeadLetterRow) -> None:
        metrics = self.metrics
        metrics.frames_received.labels(metrics.line_if_known(letter.line)).inc()
        metrics.dead_letters.labels(letter.reason).inc()
        if letter.reason is not RejectReason.KILLS_INSPECTOR:  # that one we cannot blame on the frame
            metrics.frames_rejected.labels(letter.reason).inc()

    def _tell_skew(self, verdicts: Sequence[VerdictRow]) -> None:
        """The frame that waited least says most about the clocks."""
        least: dict[str, float] = {}
        for row in verdicts:
            if row.recorded_at is not None and row.received_at is not None:
                seconds = (row.received_at - row.recorded_at).total_seconds()
                least[row.line] = min(seconds, least.get(row.line, seconds))
        for line, seconds in least.items():
            self.metrics.clock_skew.labels(self.metrics.line(line)).set(seconds)


def _frames(claim: Claim) -> int:
    """Frames on their way to a verdict; those that wait for words have theirs."""
    return claim.end_offset - claim.first_offset if claim.kind is BatchKind.INSPECT else 0
