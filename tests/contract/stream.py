"""A small world for ledger tests: one log, one recipe, and short words for what a worker does."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, Engine, text, update

from pipelines.errors import RejectReason
from pipelines.localize.calibration import Calibration
from pipelines.recipe import Decision, LocalizerPart, Recipe
from pipelines.regions import Region, RegionRule, ViewRule
from pipelines.verdict import Outcome
from storage.audit import PartitionAudit, audit
from storage.batches import LIVE_RUN, BatchKind, Claim, claim_next, finish, plan, plan_lost
from storage.database import reading, transaction
from storage.dead_letters import DeadLetterRow
from storage.logs import open_log
from storage.recipes import freeze_set, save_recipe, set_current
from storage.schema import LogKind, batch
from storage.verdicts import VerdictRow, save_verdicts

LEASE = timedelta(minutes=1)
REGION = Region(left=1, top=2, right=3, bottom=4, peak=0.5, p_value=0.01, area_px=4)


def recipe_of(product: str = "tile", *, fail_p: float = 0.01, memory_uri: str = "memory:a") -> Recipe:
    return Recipe(
        product=product,
        profile="tiny",
        localizer=LocalizerPart(name="patch-memory", digest="d", memory_uri=memory_uri),
        calibration=Calibration.of([0.1, 0.2, 0.3]),
        decision=Decision(fail_p=fail_p, review_p=0.05),
        regions=RegionRule(peak_score=1.0, extent_score=0.5),
        views=ViewRule(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Partition 0 of a log, on one database, inspected by one recipe."""

    engine: Engine
    log_id: int
    recipe: str
    recipe_set_id: int

    def plan(
        self, end: int, *, first: int = 0, by: int = 4, run_id: int = LIVE_RUN, priority: int = 0
    ) -> tuple[int, ...] | None:
        with transaction(self.engine) as connection:
            return plan(
                connection,
                run_id=run_id,
                log_id=self.log_id,
                partition=0,
                expected_next=first,
                end=end,
                frames_per_batch=by,
                recipe_set_id=self.recipe_set_id,
                priority=priority,
            )

    def plan_lost(self, log_start: int, *, first: int = 0) -> int | None:
        with transaction(self.engine) as connection:
            return plan_lost(
                connection,
                run_id=LIVE_RUN,
                log_id=self.log_id,
                partition=0,
                expected_next=first,
                log_start=log_start,
                recipe_set_id=self.recipe_set_id,
            )

    def claim(
        self, *, owner: str = "worker", kind: BatchKind = BatchKind.INSPECT, lease: timedelta = LEASE
    ) -> Claim | None:
        with transaction(self.engine) as connection:
            return claim_next(connection, kind=kind, owner=owner, lease=lease)

    def must_claim(
        self, *, owner: str = "worker", kind: BatchKind = BatchKind.INSPECT, lease: timedelta = LEASE
    ) -> Claim:
        claim = self.claim(owner=owner, kind=kind, lease=lease)
        assert claim is not None
        return claim

    def verdict(
        self, offset: int, outcome: Outcome = Outcome.PASS, *, event_id: str = "", line: str = "line-1"
    ) -> VerdictRow:
        return VerdictRow(
            offset=offset,
            line=line,
            product="tile",
            event_source="camera-1",
            event_id=event_id or f"event-{offset}",
            sha256="0" * 64,
            outcome=outcome,
            score=0.25,
            p_value=0.5,
            regions=(REGION,),
            recipe=self.recipe,
            case={"base": "picture:b", "views": []},
        )

    def verdicts(self, claim: Claim) -> list[VerdictRow]:
        return [self.verdict(offset) for offset in range(claim.first_offset, claim.end_offset)]

    def inspect(self, claim: Claim) -> None:
        """All a worker does with a batch, in its one transaction."""
        with transaction(self.engine) as connection:
            save_verdicts(connection, claim, self.verdicts(claim))
            finish(connection, claim)

    def inspect_all(self) -> list[Claim]:
        claims = []
        while claim := self.claim():
            self.inspect(claim)
            claims.append(claim)
        return claims

    def audit(self, *, run_id: int = LIVE_RUN) -> PartitionAudit:
        with reading(self.engine) as connection:
            (found,) = audit(connection, run_id=run_id)
        return found


def make_stream(engine: Engine) -> Stream:
    with transaction(engine) as connection:
        log = open_log(connection, kind=LogKind.KAFKA, name="frames.local", uuid="topic-1")
        recipe = save_recipe(connection, recipe_of())
        set_current(connection, "tile", recipe)
        recipe_set_id = freeze_set(connection)
    return Stream(engine=engine, log_id=log.id, recipe=recipe, recipe_set_id=recipe_set_id)


def dead_letter_at(offset: int, reason: RejectReason = RejectReason.TRUNCATED) -> DeadLetterRow:
    return DeadLetterRow(offset=offset, reason=reason, detail="ends in mid-scan", line="line-1")


def run_out_of_lease(engine: Engine, claim: Claim) -> None:
    """Let the lease's end pass without waiting for it."""
    with transaction(engine) as connection:
        past = datetime(2026, 1, 1, tzinfo=UTC)
        connection.execute(update(batch).where(batch.c.id == claim.batch_id).values(lease_until=past))


def rows_in(connection: Connection, table: str) -> int:
    return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def in_threads(count: int, work: Callable[[], None]) -> None:
    """Do the same in several threads at once; an error in one of them is raised here."""
    with ThreadPoolExecutor(count) as threads:
        for done in [threads.submit(work) for _ in range(count)]:
            done.result(timeout=60)
