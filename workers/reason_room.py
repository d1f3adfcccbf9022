"""How much may wait for a rationale: a reasoner that is away must not fill the disk behind it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from storage.database import reading
from storage.progress import waiting_rationales

if TYPE_CHECKING:
    from sqlalchemy import Engine

_log = structlog.get_logger(__name__)

_ASKED_EVERY_S = 5.0  # so the bound is passed by what one such time brings


@dataclass(slots=True, kw_only=True, eq=False)
class ReasonRoom:
    """Asked for every range. Verdicts go on either way; beyond ``most`` batches without a rationale."""

    engine: Engine
    most: int
    clock: Callable[[], float] = time.monotonic
    _asked_at: float | None = field(default=None, init=False)
    _is_open: bool = field(default=True, init=False)

    def is_open(self) -> bool:
        """Raises ``StageUnavailable`` when the database does not answer."""
        if self._asked_at is None or self.clock() - self._asked_at >= _ASKED_EVERY_S:
            with reading(self.engine) as connection:
                waiting = waiting_rationales(connection, at_most=self.most + 1)
            if self._is_open != (waiting <= self.most):
                _log.warning("rationales wait", batches=waiting, most=self.most, is_open=waiting <= self.most)
            self._is_open = waiting <= self.most
            self._asked_at = self.clock()
        return self._is_open
