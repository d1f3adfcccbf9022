"""Whatever planners and workers do, in any order, dying as they like: one end per offset."""

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings, stateful
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pipelines.errors import RejectReason
from storage.absences import save_gap, save_lost
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
from storage.verdicts import save_verdicts
from tests.contract.stream import Stream, dead_letter_at, make_stream

ATTEMPT_LIMIT = 2


class Ledger(RuleBasedStateMachine):
    """The real ledger on SQLite, and beside it the plainest thing that can be said of it.

    ``ends`` says what became of each offset; ``held`` are claims that the ledger must honour, by batch;
    ``zombies`` are claims that it must not.
    """

    migrated: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="triadline-ledger-"))
        file = shutil.copy(self.migrated, self.folder / "triad.db")
        self.stream: Stream = make_stream(open_database(f"sqlite:///{file}"))
        self.end = 0
        self.ends: dict[int, str] = {}
        self.held: dict[int, Claim] = {}
        self.zombies: list[Claim] = []

    @rule(frames=st.integers(1, 9), by=st.integers(1, 5), is_late=st.booleans())
    def plan(self, frames: int, by: int, is_late: bool) -> None:
        expected = self.end - 1 if is_late and self.end else self.end
        planned = self.stream.plan(self.end + frames, first=expected, by=by)

        assert (planned is None) == (expected != self.end)
        self.end += frames if planned is not None else 0

    @rule(owner=st.sampled_from("ab"))
    def claim(self, owner: str) -> None:
        claim = self.stream.claim(owner=owner)
        if claim is not None:
            assert claim.batch_id not in self.held, "nobody else may have it"
            assert not set(range(claim.first_offset, claim.end_offset)) & self.ends.keys()
            self.held[claim.batch_id] = claim

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
                self.ends[exhausted.first_offset] = "dead_letter"
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
        if not self.end:
            return
        found = self.stream.audit()
        assert found.is_clean, found
        assert found.pending == self.end - len(self.ends)
        for kind in ("verdict", "dead_letter", "gap", "lost"):
            assert getattr(found, kind) == list(self.ends.values()).count(kind)

    @invariant()
    def the_watermark_never_passes_an_offset_without_an_end(self) -> None:
        with reading(self.stream.engine) as connection:
            mark = watermark(connection, run_id=LIVE_RUN, log_id=self.stream.log_id, partition=0)
        assert all(offset in self.ends for offset in range(mark))
        assert mark == self.end or mark not in self.ends

    def teardown(self) -> None:
        for claim in [*self.held.values(), *self._rest()]:
            self.stream.inspect(claim)
        if self.end:
            found = self.stream.audit()
            assert found.is_clean
            assert found.pending == 0
        self.stream.engine.dispose()
        shutil.rmtree(self.folder)

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
        self.ends |= kinds


def test_any_history_leaves_one_end_per_offset(migrated_sqlite: Path) -> None:
    class Here(Ledger):
        migrated = migrated_sqlite

    stateful.run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=15,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
