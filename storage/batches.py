"""The queue, as workers see it: plan, claim, finish or hand back, expire. One idea per module behind it."""

from storage.claims import (
    Claim,
    StaleFence,
    Unaccounted,
    claim_next,
    finish,
    hand_back,
    renew,
    require_held,
    was_finished,
)
from storage.expiry import Expired, exhaust, expire_leases, leasing_owners, split_claim
from storage.planning import cursor, open_cursor, plan, plan_lost, plan_reason
from storage.progress import Backlog, OpenRanges, backlog, cursors, open_ranges, watermark
from storage.schema import LIVE_RUN, BatchKind, BatchState

__all__ = [
    "LIVE_RUN",
    "Backlog",
    "BatchKind",
    "BatchState",
    "Claim",
    "Expired",
    "OpenRanges",
    "StaleFence",
    "Unaccounted",
    "backlog",
    "claim_next",
    "cursor",
    "cursors",
    "exhaust",
    "expire_leases",
    "finish",
    "hand_back",
    "leasing_owners",
    "open_cursor",
    "open_ranges",
    "plan",
    "plan_lost",
    "plan_reason",
    "renew",
    "require_held",
    "split_claim",
    "was_finished",
    "watermark",
]
