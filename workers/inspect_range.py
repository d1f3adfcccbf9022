"""One batch from its log to its verdicts: read, decode, inspect, and all rows in one transaction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from pipelines.decoding import payload_sha256
from pipelines.errors import FrameRejected, InputRefused, RejectReason
from pipelines.frame import Geometry
from pipelines.recipe import Recipe
from storage import outbox
from storage.absences import save_gap, save_lost
from storage.batches import BatchKind, Claim, finish, plan_reason
from storage.database import database_now, reading, transaction
from storage.dead_letters import DeadLetterRow, save_dead_letters
from storage.pictures import PictureStore
from storage.recipes import load_set
from storage.schema import AbsenceKind
from storage.verdicts import SavedVerdicts, VerdictRow, save_verdicts
from workers.admission import Admitted, admit
from workers.bisection import bisected
from workers.claimant import Claimant, NotYet
from workers.evidence import keep_payload, verdict_row, wants_rationale
from workers.expert import Models
from workers.frame_log import Absence, FrameLog, Record, read_all
from workers.log_lines import bound_trace
from workers.messages import dead_letter_message, verdict_message
from workers.watch import Inspected, Stage

_log = structlog.get_logger(__name__)

Checkpoint = Callable[[], None]

FRAMES_PER_CALL = 8  # between two checkpoints: a stop, a lost lease and memory all wait for this many frames


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InspectDesk:
    """All that inspecting needs in one process, built once by the wiring."""

    claimant: Claimant
    log: Callable[[int], FrameLog]  # by the ledger's id
    models: Models
    pictures: PictureStore
    geometry: Callable[[str], Geometry]  # what a line declares
    attempt_limit: int
    most_bytes: int

    def inspect_next(self) -> bool:
        """Claim the next range and see it through; False when none waits."""
        return self.claimant.work_next(BatchKind.INSPECT, self._inspect)

    def _inspect(self, claim: Claim, checkpoint: Checkpoint) -> None:
        with reading(self.claimant.engine) as connection:
            recipes = load_set(connection, claim.recipe_set_id)
            now = database_now(connection)
        hashes = {product: recipe.hash for product, recipe in recipes.items()}
        ends = Ends(is_last_attempt=claim.attempts >= self.attempt_limit, received_at=now)
        reads = read_all(
            self.log(claim.log_id),
            claim.partition,
            claim.first_offset,
            claim.end_offset,
            most_bytes=self.most_bytes,
            watch=self.claimant.watch,
        )
        for read in reads:
            self.claimant.watch.frames_read(claim, read.records)
            ends.absences += read.absences
            for start in range(0, len(read.records), FRAMES_PER_CALL):
                checkpoint()
                chunk = read.records[start : start + FRAMES_PER_CALL]
                for product, group in self._admit(chunk, hashes, ends).items():
                    self._inspect_group(group, recipes[product], ends)
        checkpoint()
        self._write(claim, ends)

    def _admit(
        self, records: Sequence[Record], hashes: Mapping[str, str], ends: "Ends"
    ) -> dict[str, list[Admitted]]:
        """The decoded frames by product; no frame's failure touches another's verdict."""

        def admit_one(one: Sequence[Record]) -> list[Admitted]:
            with self.claimant.watch.stage(Stage.DECODE):
                return [admit(one[0], recipes=hashes, geometry=self.geometry)]

        by_product: dict[str, list[Admitted]] = {}
        for record in records:
            (admitted,) = bisected([record], admit_one)
            if isinstance(admitted, Exception):
                self._give_up(record, admitted, ends)
            else:
                by_product.setdefault(admitted.frame.product, []).append(admitted)
        return by_product

    def _inspect_group(self, group: Sequence[Admitted], recipe: Recipe, ends: "Ends") -> None:
        try:
            expert = self.models.expert(recipe)
        except InputRefused as refusal:
            # The recipe was pinned when the range was planned, and what it names is gone for good (an upgrade
            # brought other weights). Waiting would hold up every frame behind these.
            gone = FrameRejected(RejectReason.UNKNOWN_PRODUCT, f"recipe {recipe.hash[:12]}: {refusal}")
            for admitted in group:
                self._give_up(admitted.record, gone, ends)
            return

        def inspect(some: Sequence[Admitted]) -> list[tuple[VerdictRow, bool]]:
            with self.claimant.watch.stage(Stage.LOCALIZE):
                inspections = expert.inspect([admitted.frame for admitted in some])
            with self.claimant.watch.stage(Stage.EVIDENCE):
                return [
                    (
                        verdict_row(admitted.record, inspection, expert, self.pictures, ends.received_at),
                        wants_rationale(inspection, expert),
                    )
                    for admitted, inspection in zip(some, inspections, strict=True)
                ]

        for admitted, end in zip(group, bisected(group, inspect), strict=True):
            if isinstance(end, Exception):
                self._give_up(admitted.record, end, ends)
                continue
            row, asks = end
            ends.verdicts.append(row)
            if asks:
                ends.asking.append(row.offset)

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
        ends.dead_letters.append(
            DeadLetterRow(
                offset=record.offset,
                reason=reason,
                detail=detail,
                line=record.key,
                name=record.name,
                payload_uri=keep_payload(record, self.pictures),
                sha256=None if record.payload is None else payload_sha256(record.payload),
            )
        )

    def _write(self, claim: Claim, ends: "Ends") -> None:
        """Everything or nothing: the fence is checked where the rows are written."""
        watch = self.claimant.watch
        with watch.stage(Stage.WRITE), transaction(self.claimant.engine) as connection:
            saved = save_verdicts(connection, claim, ends.verdicts)
            save_dead_letters(connection, claim, ends.dead_letters)
            for absence in ends.absences:
                save = save_gap if absence.kind is AbsenceKind.GAP else save_lost
                save(
                    connection,
                    claim,
                    first=absence.first,
                    end=absence.end,
                    position=absence.position,
                    log_start=absence.log_start,
                )
            if ends.asking:
                plan_reason(connection, claim, ends.asking)
            outbox.add(connection, [verdict_message(claim, row) for row in ends.verdicts])
            outbox.add(connection, [dead_letter_message(claim, row) for row in ends.dead_letters])
            finish(connection, claim)
        watch.batch_inspected(claim, ends.told(saved))


@dataclass(slots=True, kw_only=True)
class Ends:
    """What has become of a batch's offsets so far: each ends in exactly one of these."""

    is_last_attempt: bool
    received_at: datetime  # when this worker turned to the range
    verdicts: list[VerdictRow] = field(default_factory=list)
    dead_letters: list[DeadLetterRow] = field(default_factory=list)
    absences: tuple[Absence, ...] = ()
    asking: list[int] = field(default_factory=list)  # those of the verdicts that want a rationale

    def told(self, saved: SavedVerdicts) -> Inspected:
        lost = (each.end - each.first for each in self.absences if each.kind is AbsenceKind.LOST)
        return Inspected(
            verdicts=self.verdicts,
            dead_letters=self.dead_letters,
            decided_at=saved.decided_at,
            repeats=saved.repeats,
            lost=sum(lost),
        )
