"""Judging what production said of golden parts: whoever asks, each frame is judged once."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from pipelines.golden import GoldenResult, allowed_move, compare
from storage.database import reading, transaction
from storage.golden_checks import OpenCheck, close_check, open_checks
from storage.golden_parts import get_golden_score, save_golden_score
from storage.recipes import load_recipe

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from pipelines.localize.calibration import Calibration

_log = structlog.get_logger(__name__)

_MOST_KNOWN = 100  # recipes whose calibration is remembered


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedCheck:
    """A golden frame that was judged just now."""

    golden_part: str
    line: str
    result: GoldenResult


@dataclass(slots=True, kw_only=True, eq=False)
class GoldenChecker:
    """Compares verdicts on golden parts with what is expected; one without a verdict for ``wait`` is missing.

    The first frame that a golden part has under a recipe, where nobody took its score before, is judged by
    its outcome alone, and its score is what later ones are held to.
    """

    engine: Engine
    wait: timedelta
    _calibrations: dict[str, Calibration] = field(default_factory=dict)

    def check(self) -> tuple[ClosedCheck, ...]:
        """Judge what can be judged now. Any number of processes may do so.

        Raises:
            StageUnavailable: The database does not answer.
        """
        with reading(self.engine) as connection:
            found = open_checks(connection)
        due = [each for each in found if each.answer is not None or each.waited > self.wait]
        if not due:
            return ()
        with transaction(self.engine) as connection:
            closed = [closed for each in due if (closed := self._close(connection, each)) is not None]
        for each in closed:
            tell = _log.info if each.result is GoldenResult.OK else _log.error
            tell(
                "golden part checked", line=each.line, golden_part=each.golden_part, result=each.result.value
            )
        return tuple(closed)

    def _close(self, connection: Connection, check: OpenCheck) -> ClosedCheck | None:
        """None where another process was first."""
        expected_score = allowed = None
        result = GoldenResult.MISSING
        answer = check.answer
        if answer is not None:
            expected_score = get_golden_score(connection, check.golden_part, answer.recipe)
            allowed = allowed_move(self._calibration(connection, answer.recipe), check.tolerance)
            result = compare(
                outcome=answer.outcome,
                score=answer.score,
                expected=check.expected,
                expected_score=expected_score,
                allowed=allowed,
            )
        is_mine = close_check(
            connection,
            check.id,
            result,
            answer=answer,
            expected_score=expected_score,
            allowed_move=allowed,
        )
        if not is_mine:
            return None
        if answer is not None and result is GoldenResult.OK:
            save_golden_score(connection, check.golden_part, answer.recipe, answer.score, replaces=False)
        return ClosedCheck(golden_part=check.golden_part, line=check.line, result=result)

    def _calibration(self, connection: Connection, recipe_hash: str) -> Calibration:
        if recipe_hash not in self._calibrations:
            recipe = load_recipe(connection, recipe_hash)
            assert recipe is not None, f"a verdict refers to recipe {recipe_hash}"
            if len(self._calibrations) >= _MOST_KNOWN:
                self._calibrations.clear()
            self._calibrations[recipe_hash] = recipe.calibration
        return self._calibrations[recipe_hash]
