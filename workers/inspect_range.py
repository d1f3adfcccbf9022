"""One batch from its log to its verdicts: read, decode, inspect, and all rows in one transaction."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from pipelines.decoding import payload_sha256
from pipelines.errors import FrameRejected, InputRefused, RejectReason
from pipelines.frame import Envelope
from pipelines.inspection import Inspection
from pipelines.recipe import Recipe
from storage import partition_stats
from storage.batches import LIVE_RUN, BatchKind, Claim, finish, plan_reason, split_claim
from storage.database import database_now, reading, transaction
from storage.dead_letters import DeadLetterRow, save_dead_letters
from storage.partition_stats import FrameEnds
from storage.pictures import PictureStore
from storage.recipes import load_set
from storage.replays import get_replay
from storage.schema import AbsenceKind
from storage.verdicts import SavedVerdicts, VerdictRow, save_verdicts
from workers.admission import Admitted
from workers.behind import Behind, behind
from workers.bisection import bisected
from workers.claimant import Claimant, NotYet
from workers.evidence import keep_payload, verdict_row, wants_rationale
from workers.expert import Expert, Models
from workers.frame_log import Absence, FrameLog, Record
from workers.frames_before import FramesBefore
from workers.log_lines import bound_trace
from workers.messages import Message, dead_letter_message, lost_message, tell, verdict_message
from workers.picture_threads import evidence_threads
from workers.proved_absences import save_absence
from workers.range_duration import RangeDuration
from workers.reading_ahead import Piece, ReadingAhead
from workers.rebatching import CallSize, calls
from workers.replaying import ReplayedLog
from workers.watch import Inspected, Stage

_log = structlog.get_logger(__name__)

Checkpoint = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InspectDesk:
    """All that inspecting needs in one process, built once by the wiring."""

    claimant: Claimant
    log: Callable[[int], FrameLog]  # by the ledger's id
    reading_ahead: ReadingAhead
    models: Models
    pictures: PictureStore
    attempt_limit: int
    stop_ratio_frames: int = 1000  # over which the share of dead letters is averaged
    has_reason_room: Callable[[], bool] = lambda: True
    device: AbstractContextManager[object] = field(default_factory=nullcontext)  # for one call at a time
    call_size: CallSize = field(default_factory=CallSize)
    duration: RangeDuration = field(default_factory=RangeDuration)
    keepers: ThreadPoolExecutor = field(default_factory=evidence_threads)  # of evidence, for all ranges

    def inspect_next(self) -> bool:
        """Claim the next range and see it through; False when none waits."""
        return self.claimant.work_next(BatchKind.INSPECT, self._inspect)

    def _inspect(self, claim: Claim, checkpoint: Checkpoint) -> None:
        with reading(self.claimant.engine) as connection:
            recipes = load_set(connection, claim.recipe_set_id)
            replay = get_replay(connection, claim.run_id)
            now = database_now(connection)
        hashes = {product: recipe.hash for product, recipe in recipes.items()}
        ends = Ends(
            is_last_attempt=claim.attempts >= self.attempt_limit,
            received_at=now,
            has_reason_room=self.has_reason_room(),
        )
        log = whole = self.log(claim.log_id)
        if replay is not None:
            log = ReplayedLog(log=log, replay=replay, lines=self.reading_ahead.lines)
        before = FramesBefore(
            log=whole,
            claim=claim,
            lines=self.reading_ahead.lines,
            received_at=now,
            most_bytes=self.reading_ahead.most_bytes,
        )
        began = time.monotonic()
        with (
            self.reading_ahead.pieces(log, claim, recipes=hashes, received_at=now) as pieces,
            behind(self.keepers, self._kept) as keeping,
        ):
            for number, call in enumerate(calls(self._admitted(pieces, before, ends), self.call_size)):
                checkpoint()
                if number == 0 and self._is_too_long(claim, call, now):
                    self._cut_in_two(claim)
                    return
                judged = self._judged(call, recipes[call[0].frame.product], ends)
                self._settle(keeping, ends)
                keeping.hand_over(judged)
            self._settle(keeping, ends)
        checkpoint()
        self._write(claim, ends)
        self.duration.note(frames=claim.end_offset - claim.first_offset, seconds=time.monotonic() - began)

    def _admitted(self, pieces: Iterable[Piece], before: FramesBefore, ends: "Ends") -> Iterator[Admitted]:
        """The decoded frames in order; what else the pieces hold is settled in passing."""
        for piece in pieces:
            ends.absences += piece.absences
            ends.payload_bytes += piece.payload_bytes
            ends.line_priority = max(ends.line_priority, piece.line_priority)
            for record, error in piece.refused:
                self._give_up(record, error, ends)
            yield from before.with_seams(piece)

    def _is_too_long(self, claim: Claim, call: Sequence[Admitted], now: datetime) -> bool:
        """Whether a deadline would pass before the range is done: its verdicts come all at once."""
        frames = claim.end_offset - claim.first_offset
        due = [each.frame.envelope.expires_at for each in call]
        left = [(each - now).total_seconds() for each in due if each is not None and each > now]
        return frames > 1 and bool(left) and min(left) < self.duration.seconds_for(frames)

    def _cut_in_two(self, claim: Claim) -> None:
        with transaction(self.claimant.engine) as connection:
            split_claim(connection, claim)

    def _judged(self, group: Sequence[Admitted], recipe: Recipe, ends: "Ends") -> list["Judged"]:
        """What the model says of one call's frames; those it can say nothing of are given up."""
        try:
            expert = self.models.expert(recipe)
        except InputRefused as refusal:
            # The recipe was pinned when the range was planned, and what it names is gone for good (an upgrade
            # brought other weights). Waiting would hold up every frame behind these.
            gone = FrameRejected(RejectReason.UNKNOWN_PRODUCT, f"recipe {recipe.hash[:12]}: {refusal}")
            for admitted in group:
                self._give_up(admitted.record, gone, ends)
            return []

        def inspect(some: Sequence[Admitted]) -> list[Judged]:
            with self.device, self.claimant.watch.stage(Stage.LOCALIZE):
                inspections = expert.inspect([admitted.frame for admitted in some])
            pairs = zip(some, inspections, strict=True)
            return [self._judge(admitted, inspection, expert, ends) for admitted, inspection in pairs]

        found = zip(group, bisected(group, inspect), strict=True)
        judged = []
        for admitted, end in found:
            if isinstance(end, Exception):
                self._give_up(admitted.record, end, ends)
            else:
                judged.append(end)
        return judged

    def _judge(self, admitted: Admitted, inspection: Inspection, expert: Expert, ends: "Ends") -> "Judged":
        is_wanted = wants_rationale(inspection, expert)
        asks = is_wanted and ends.has_reason_room
        return Judged(
            record=admitted.record,
            inspection=inspection,
            expert=expert,
            received_at=ends.received_at,
            asks=asks,
            note="no rationale: too many frames wait for one" if is_wanted and not asks else None,
            reference_id=expert.nearest(admitted.frame) if asks else None,
        )

    def _kept(self, judged: "Judged") -> VerdictRow:
        """Its evidence kept: drawn and written in a thread, while the model is at the next frames."""
        with self.claimant.watch.stage(Stage.EVIDENCE):
            return verdict_row(
                judged.record,
                judged.inspection,
                judged.expert,
                self.pictures,
                received_at=judged.received_at,
                asks=judged.asks,
                note=judged.note,
                reference_id=judged.reference_id,
            )

    def _settle(self, keeping: Behind["Judged", VerdictRow], ends: "Ends") -> None:
        for judged, end in keeping.settle():
            if isinstance(end, Exception):
                self._give_up(judged.record, end, ends)
                continue
            ends.verdicts.append(end)
            if judged.asks:
                ends.asking.append(end.offset)

    def _give_up(self, record: Record, error: Exception, ends: "Ends") -> None:
        """A dead letter for what can never be inspected, or what has failed for the last time."""
        if isinstance(error, FrameRejected):
            reason, detail = error.reason, error.detail
        elif ends.is_last_attempt:
            with bound_trace(record.envelope.traceparent if record.envelope else None):
                _log.error("frame given up", frame=record.name, offset=record.offset, error=repr(error))
            reason, detail = RejectReason.KILLS_INSPECTOR, repr(error)
        else:
            raise NotYet(f"{record.name} (offset {record.offset}): {error!r}") from error
        row = DeadLetterRow(
            offset=record.offset,
            reason=reason,
            detail=detail,
            line=record.key,
            name=record.name,
            payload_uri=keep_payload(record, self.pictures),
            sha256=None if record.payload is None else payload_sha256(record.payload),
        )
        ends.dead_letters.append((row, record.envelope))

    def _write(self, claim: Claim, ends: "Ends") -> None:
        """Everything or nothing: the fence is checked where the rows are written."""
        watch = self.claimant.watch
        with watch.stage(Stage.WRITE), transaction(self.claimant.engine) as connection:
            saved = save_verdicts(connection, claim, ends.verdicts)
            save_dead_letters(connection, claim, [row for row, _ in ends.dead_letters])
            for absence in ends.absences:
                save_absence(connection, claim, absence)
            if ends.asking:
                plan_reason(connection, claim, ends.asking)
            tell(connection, claim, _messages(claim, ends, saved.decided_at))
            if ends.frames:  # a range of gaps says nothing of the frames to come
                partition_stats.learn(
                    connection,
                    claim,
                    payload_bytes=ends.payload_bytes,
                    offsets=claim.end_offset - claim.first_offset,
                    line_priority=ends.line_priority,
                    ends=self._frame_ends(claim, ends),
                )
            finish(connection, claim)
        watch.batch_inspected(claim, ends.told(saved))

    def _frame_ends(self, claim: Claim, ends: "Ends") -> FrameEnds | None:
        """For the share of dead letters, which a replay of them must not raise."""
        if claim.run_id != LIVE_RUN:
            return None
        return FrameEnds(frames=ends.frames, dead_letters=len(ends.dead_letters), over=self.stop_ratio_frames)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """A frame that the model is done with, and all that its row will say besides its evidence's places."""

    record: Record
    inspection: Inspection
    expert: Expert
    received_at: datetime
    asks: bool  # for a rationale
    note: str | None
    reference_id: str | None


@dataclass(slots=True, kw_only=True)
class Ends:
    """What has become of a batch's offsets so far: each ends in exactly one of these."""

    is_last_attempt: bool
    received_at: datetime  # when this worker turned to the range
    has_reason_room: bool
    verdicts: list[VerdictRow] = field(default_factory=list)
    dead_letters: list[tuple[DeadLetterRow, Envelope | None]] = field(default_factory=list)
    absences: tuple[Absence, ...] = ()
    payload_bytes: int = 0  # of all records read
    line_priority: int = 0  # the highest among their lines
    asking: list[int] = field(default_factory=list)  # those of the verdicts that want a rationale

    @property
    def frames(self) -> int:
        return len(self.verdicts) + len(self.dead_letters)

    def told(self, saved: SavedVerdicts) -> Inspected:
        lost = (each.end - each.first for each in self.absences if each.kind is AbsenceKind.LOST)
        return Inspected(
            verdicts=self.verdicts,
            dead_letters=[row for row, _ in self.dead_letters],
            decided_at=saved.decided_at,
            repeats=saved.repeats,
            lost=sum(lost),
        )


def _messages(claim: Claim, ends: Ends, decided_at: datetime) -> list[Message]:
    """Golden parts are kept to ourselves: no part stands at a gate for them."""
    asking = set(ends.asking)
    verdicts = [
        verdict_message(claim, row, decided_at=decided_at, awaits_rationale=row.offset in asking)
        for row in ends.verdicts
        if row.golden_part is None
    ]
    dead_letters = [
        dead_letter_message(claim, row, envelope)
        for row, envelope in ends.dead_letters
        if envelope is None or envelope.golden_part is None
    ]
    lost = [lost_message(claim, absence) for absence in ends.absences if absence.kind is AbsenceKind.LOST]
    return verdicts + dead_letters + lost
