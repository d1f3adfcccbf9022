"""Whatever planners and workers do, in any order, dying as they like: one end per offset."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings, stateful
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import Engine

from pipelines.errors import RejectReason
from storage.absences import save_gap, save_lost
from storage.audit import PartitionAudit, audit
from storage.batches import (
    LIVE_RUN,
    Claim,
    StaleFence,
    exhaust,
    expire_leases,
    finish,
    hand_back,
    split_claim,
    watermark,
)
from storage.database import open_database, reading, transaction
from storage.dead_letters import save_dead_letters
from storage.logs import get_log, next_epoch
from storage.verdicts import save_verdicts
from tests.contract.stream import Stream, dead_letter_at, make_stream
from tests.databases import fresh_postgres

ATTEMPT_LIMIT = 2


Offset = tuple[int, int]  # log id, offset


class Ledger(RuleBasedStateMachine):
    """The real ledger, and beside it the plainest thing that can be said of it.

    ``ends`` says what became of each offset, ``priorities`` what each was planned with; ``held`` are claims
    that the ledger must honour, by batch; ``zombies`` are claims that it must not. ``log_id`` is the newest
    epoch's; older ones, with how far each was planned, are in ``planned`` too.
    """

    database: Callable[[], AbstractContextManager[Engine]]

    def __init__(self) -> None:
        super().__init__()
        self.opened = type(self).database()
        self.stream: Stream = make_stream(self.opened.__enter__())
        self.planned: dict[int, int] = {self.stream.log_id: 0}
        self.ends: dict[Offset, str] = {}
        self.priorities: dict[Offset, int] = {}
        self.held: dict[int, Claim] = {}
        self.zombies: list[Claim] = []

    @property
    def end(self) -> int:
        return self.planned[self.stream.log_id]

    @rule(
        frames=st.integers(1, 9),
        by=st.integers(1, 5),
        is_late=st.booleans(),
        priority=st.sampled_from([0, 0, 7, 100]),
    )
    def plan(self, frames: int, by: int, is_late: bool, priority: int) -> None:
        first, end = self.end, self.end + frames
        expected = first - 1 if is_late and first else first
        planned = self.stream.plan(end, first=expected, by=by, priority=priority)

        assert (planned is None) == (expected != first)
        if planned is not None:
            self.priorities |= {(self.stream.log_id, offset): priority for offset in range(first, end)}
            self.planned[self.stream.log_id] = end

    @rule(frames=st.integers(1, 9), is_late=st.booleans())
    def lose_before_planning(self, frames: int, is_late: bool) -> None:
        """The log begins above the cursor."""
        first, end = self.end, self.end + frames
        expected = first - 1 if is_late and first else first
        lost = self.stream.plan_lost(end, first=expected)

        assert (lost is None) == (expected != first)
        if lost is not None:
            self.ends |= {(self.stream.log_id, offset): "lost" for offset in range(first, end)}
            self.planned[self.stream.log_id] = end

    @precondition(lambda self: self.end and len(self.planned) < 3)
    @rule()
    def cut_back(self) -> None:
        """Offsets start again under the same uuid: what is planned of the old epoch is still worked off."""
        with transaction(self.stream.engine) as connection:
            log = get_log(connection, self.stream.log_id)
            assert log is not None
            self.stream = replace(self.stream, log_id=next_epoch(connection, log).id)
        self.planned[self.stream.log_id] = 0

    @rule(owner=st.sampled_from("ab"))
    def claim(self, owner: str) -> None:
        claim = self.stream.claim(owner=owner)
        waiting = self._waiting()
        assert (claim is None) == (not waiting)
        if claim is not None:
            assert claim.batch_id not in self.held, "nobody else may have it"
            assert set(offsets_of(claim)) <= waiting
            assert claim.priority == max(self.priorities[offset] for offset in waiting)
            self.held[claim.batch_id] = claim

    def _waiting(self) -> set[Offset]:
        held = {offset for claim in self.held.values() for offset in offsets_of(claim)}
        return self.priorities.keys() - self.ends.keys() - held

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(list(self.held.values())))
        kinds = data.draw(
            st.lists(
                st.sampled_from(["verdict", "dead_letter", "gap", "lost"]),
                min_size=claim.end_offset - claim.first_offset,
                max_size=claim.end_offset - claim.first_offset,
            )
        )
        self._write(claim, dict(enumerate(kinds, claim.first_offset)))
        del self.held[claim.batch_id]

    @precondition(lambda self: self.held)
    @rule(data=st.data(), keeps_attempt=st.booleans())
    def hand_back(self, data: st.DataObject, keeps_attempt: bool) -> None:
        claim = self._let_go(data)
        with transaction(self.stream.engine) as connection:
            hand_back(connection, claim, keeps_attempt=keeps_attempt, delay=timedelta(0))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def split(self, data: st.DataObject) -> None:
        claim = self._let_go(data)
        with transaction(self.stream.engine) as connection:
            if claim.end_offset - claim.first_offset > 1:
                split_claim(connection, claim)
            else:
                hand_back(connection, claim, keeps_attempt=True)

    @rule(owner=st.sampled_from("ab"))
    def die(self, owner: str) -> None:
        """A process is gone: all it held goes back, is split, or is given up."""
        with transaction(self.stream.engine) as connection:
            expired = expire_leases(connection, owners_gone=[owner], attempt_limit=ATTEMPT_LIMIT)
            for exhausted in expired.exhausted:
                assert exhausted.attempts >= ATTEMPT_LIMIT
                letter = dead_letter_at(exhausted.first_offset, RejectReason.KILLS_INSPECTOR)
                save_dead_letters(connection, exhausted, [letter])
                exhaust(connection, exhausted)
                self.ends[exhausted.log_id, exhausted.first_offset] = "dead_letter"
        gone = {*expired.returned, *expired.split, *(each.batch_id for each in expired.exhausted)}
        self.zombies += [claim for batch_id, claim in self.held.items() if batch_id in gone]
        self.held = {batch_id: claim for batch_id, claim in self.held.items() if batch_id not in gone}

    @precondition(lambda self: self.zombies)
    @rule(data=st.data())
    def come_back_too_late(self, data: st.DataObject) -> None:
        zombie = data.draw(st.sampled_from(self.zombies))
        with pytest.raises(StaleFence):
            self.stream.inspect(zombie)

    @invariant()
    def every_offset_has_one_end_or_is_pending(self) -> None:
        for log_id, found in self._audits().items():
            assert found.is_clean, found
            ends = self._ends_of(log_id)
            assert found.pending == self.planned[log_id] - len(ends)
            for kind in ("verdict", "dead_letter", "gap", "lost"):
                assert getattr(found, kind) == list(ends.values()).count(kind)

    @invariant()
    def the_watermark_never_passes_an_offset_without_an_end(self) -> None:
        for log_id, end in self.planned.items():
            ends = self._ends_of(log_id)
            with reading(self.stream.engine) as connection:
                mark = watermark(connection, run_id=LIVE_RUN, log_id=log_id, partition=0)
            assert all(offset in ends for offset in range(mark))
            assert mark == end or mark not in ends

    def teardown(self) -> None:
        for claim in [*self.held.values(), *self._rest()]:
            self.stream.inspect(claim)
        for found in self._audits().values():
            assert found.is_clean
            assert found.pending == 0
        self.opened.__exit__(None, None, None)

    def _audits(self) -> dict[int, PartitionAudit]:
        """By log; those of which something is planned."""
        with reading(self.stream.engine) as connection:
            found = {each.log_id: each for each in audit(connection)}
        assert found.keys() == {log_id for log_id, end in self.planned.items() if end}
        return found

    def _ends_of(self, log_id: int) -> dict[int, str]:
        return {offset: kind for (log, offset), kind in self.ends.items() if log == log_id}

    def _rest(self) -> list[Claim]:
        claims = []
        while claim := self.stream.claim():
            claims.append(claim)
        return claims

    def _let_go(self, data: st.DataObject) -> Claim:
        claim = data.draw(st.sampled_from(list(self.held.values())))
        self.zombies.append(self.held.pop(claim.batch_id))
        return claim

    def _write(self, claim: Claim, kinds: dict[int, str]) -> None:
        of = {kind: [offset for offset, each in kinds.items() if each == kind] for kind in kinds.values()}
        with transaction(self.stream.engine) as connection:
            rows = [self.stream.verdict(offset) for offset in of.get("verdict", [])]
            save_verdicts(connection, claim, rows)
            save_dead_letters(connection, claim, [dead_letter_at(each) for each in of.get("dead_letter", [])])
            for offset in of.get("gap", []):
                save_gap(connection, claim, first=offset, end=offset + 1, position=offset + 1, log_start=0)
            for offset in of.get("lost", []):
                save_lost(connection, claim, first=offset, end=offset + 1)
            finish(connection, claim)
        self.ends |= {(claim.log_id, offset): kind for offset, kind in kinds.items()}


def offsets_of(claim: Claim) -> list[Offset]:
    return [(claim.log_id, offset) for offset in range(claim.first_offset, claim.end_offset)]


def run(open_one: Callable[[], AbstractContextManager[Engine]], *, examples: int) -> None:
    class Here(Ledger):
        database = staticmethod(open_one)

    stateful.run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


def test_any_history_leaves_one_end_per_offset_on_sqlite(migrated_sqlite: Path) -> None:
    @contextmanager
    def open_one() -> Iterator[Engine]:
        with tempfile.TemporaryDirectory(prefix="triadline-ledger-") as folder:
            file = shutil.copy(migrated_sqlite, Path(folder) / "triad.db")
            engine = open_database(f"sqlite:///{file}")
            yield engine
            engine.dispose()

    run(open_one, examples=15)


def test_any_history_leaves_one_end_per_offset_on_postgres(migrated_postgres: tuple[str, str]) -> None:
    url, template = migrated_postgres
    run(lambda: fresh_postgres(url, template=template), examples=10)
