"""What the ledger costs by itself: the very storage calls of planner and worker, timed one after another."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median

from sqlalchemy import Engine, func, select

from benchmarks.stand_in import PRODUCT, stand_in_recipe
from pipelines.regions import Region
from pipelines.verdict import Outcome
from storage import partition_stats
from storage.batches import LIVE_RUN, BatchKind, Claim, claim_next, finish, plan
from storage.database import database_now, reading, transaction
from storage.logs import open_log
from storage.recipes import freeze_set, load_set, save_recipe, set_current
from storage.replays import get_replay
from storage.schema import LogKind, metadata
from storage.verdicts import VerdictRow, save_verdicts
from workers.messages import tell, verdict_message

_LEASE = timedelta(minutes=1)
_REGION = Region(left=12, top=20, right=40, bottom=36, peak=0.31, p_value=0.4, area_px=322)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerCost:
    """Milliseconds per frame, medians over ranges; rows are those that all tables have more than before."""

    database: str
    frames_per_range: int
    ranges: int
    rows_per_frame: float
    plan_ms: float
    claim_ms: float  # with reading the range's recipes
    finish_ms: float  # verdicts, messages, what the range taught, and the range done

    @property
    def total_ms(self) -> float:
        return self.plan_ms + self.claim_ms + self.finish_ms


def measure_ledger(engine: Engine, name: str, *, frames_per_range: int, frames: int) -> LedgerCost:
    """On a fresh, migrated database. The first range warms caches and is not counted."""
    ranges = max(3, frames // frames_per_range)
    with transaction(engine) as connection:
        log = open_log(connection, kind=LogKind.KAFKA, name="frames.bench", uuid="bench")
        recipe = stand_in_recipe()
        set_current(connection, PRODUCT, save_recipe(connection, recipe))
    world = _World(engine=engine, log_id=log.id, recipe=recipe.hash, frames_per_range=frames_per_range)
    world.one(0)
    before = count_rows(engine)
    timed = [world.one(number + 1) for number in range(ranges)]
    rows = sum(count_rows(engine).values()) - sum(before.values())
    plan_ms, claim_ms, finish_ms = (median(each) / frames_per_range for each in zip(*timed, strict=True))
    return LedgerCost(
        database=name,
        frames_per_range=frames_per_range,
        ranges=ranges,
        rows_per_frame=rows / (ranges * frames_per_range),
        plan_ms=plan_ms,
        claim_ms=claim_ms,
        finish_ms=finish_ms,
    )


def count_rows(engine: Engine) -> dict[str, int]:
    """Of every table."""
    with reading(engine) as connection:
        return {
            table.name: int(connection.execute(select(func.count()).select_from(table)).scalar_one())
            for table in metadata.sorted_tables
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _World:
    engine: Engine
    log_id: int
    recipe: str
    frames_per_range: int

    def one(self, number: int) -> tuple[float, float, float]:
        """Plan, claim and finish one range: milliseconds of each."""
        first = number * self.frames_per_range
        spent: list[float] = []
        with _timed(spent.append):
            self._plan(first)
        with _timed(spent.append):
            claim = self._claim()
        rows = [self._row(offset) for offset in range(claim.first_offset, claim.end_offset)]
        with _timed(spent.append):
            self._finish(claim, rows)
        return spent[0], spent[1], spent[2]

    def _plan(self, first: int) -> None:
        with transaction(self.engine) as connection:
            ids = plan(
                connection,
                run_id=LIVE_RUN,
                log_id=self.log_id,
                partition=0,
                expected_next=first,
                end=first + self.frames_per_range,
                frames_per_batch=self.frames_per_range,
                recipe_set_id=freeze_set(connection),
            )
        assert ids

    def _claim(self) -> Claim:
        with transaction(self.engine) as connection:
            claim = claim_next(connection, kind=BatchKind.INSPECT, owner="benchmark", lease=_LEASE)
            database_now(connection)
        assert claim is not None
        with reading(self.engine) as connection:
            load_set(connection, claim.recipe_set_id)
            get_replay(connection, claim.run_id)
            database_now(connection)
        return claim

    def _finish(self, claim: Claim, rows: list[VerdictRow]) -> None:
        with transaction(self.engine) as connection:
            saved = save_verdicts(connection, claim, rows)
            tell(
                connection,
                claim,
                [
                    verdict_message(claim, row, decided_at=saved.decided_at, awaits_rationale=False)
                    for row in rows
                ],
            )
            partition_stats.learn(
                connection, claim, payload_bytes=40_000 * len(rows), offsets=len(rows), line_priority=0
            )
            finish(connection, claim)

    def _row(self, offset: int) -> VerdictRow:
        now = datetime.now(UTC)
        return VerdictRow(
            offset=offset,
            line=f"line-{offset % 8 + 1}",
            product=PRODUCT,
            event_source=f"/triad-produce/bench/line-{offset % 8 + 1}",
            event_id=f"00000000-0000-4000-8000-{offset:012}",
            sha256=f"{offset:064x}",
            outcome=Outcome.PASS,
            score=0.31,
            p_value=0.4,
            regions=(_REGION,),
            recipe=self.recipe,
            name=f"frames.bench[0]@{offset}",
            captured_at=now,
            recorded_at=now,
            received_at=now,
            thumbnail_uri=f"picture:{offset:064x}.jpg",
            case={"height_px": 256, "width_px": 256, "views": [], "is_grey": False},
        )


@contextmanager
def _timed(note: Callable[[float], None]) -> Iterator[None]:
    began = time.perf_counter()
    yield
    note((time.perf_counter() - began) * 1000)
