"""Which patches of the normal frames are worth remembering, and how far from each of them normal is."""

from dataclasses import dataclass

import torch
from torch import Tensor

PRIOR_WEIGHT = 3.0  # patches' worth of trust in the average over all, where a patch has few neighbours
FLOOR_SHARE = 0.5  # of that average is added, so that a very even place does not make specks of dust loud
SMALLEST_USUAL = 1e-3  # of cosine: one picture of a flat surface has no spread at all
RINGS = 3  # the outermost cells, those next to them, and all the others
FEWEST_IN_RING = 100
_COMPARED = 16_000  # sampled patches looked at for the usual distance


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Patches (n, D), unit length; for each its picture, or part of one, and its ring (n,), int64."""

    patches: Tensor
    sources: Tensor
    rings: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """How far normal is from what is remembered: per patch (n,), above 0; per ring (RINGS,), at least 1."""

    usual: Tensor
    rim: Tensor


def rings(rows: int, columns: int) -> Tensor:
    """How many cells each cell of a grid is from the border, at most RINGS - 1: (rows, columns), int64."""
    row, column = torch.arange(rows), torch.arange(columns)
    down, across = torch.minimum(row, row.flip(0)), torch.minimum(column, column.flip(0))
    return torch.minimum(down[:, None], across[None]).clamp_max(RINGS - 1)


@torch.inference_mode()
def greedy_coreset(candidates: Tensor, size: int) -> Tensor:
    """Indices of at most `size` rows: each next one is the farthest from those already chosen.

    PatchCore projects its 1024 features at random first; 64 features need none. The first is the row
    nearest to the mean, so nothing here is random.
    """
    count = min(size, len(candidates))
    chosen = torch.zeros(count, dtype=torch.long, device=candidates.device)
    chosen[0] = (candidates @ candidates.mean(0)).argmax()
    nearest = candidates @ candidates[chosen[0]]
    for k in range(1, count):
        chosen[k] = nearest.argmin()
        torch.maximum(nearest, candidates @ candidates[chosen[k]], out=nearest)
    return chosen


@torch.inference_mode()
def spread_of_normal(sample: Sample, chosen: Tensor) -> Spread:
    """What distances normal patches from *other* sources have to the chosen ones.

    Patches of its own picture are left out, because they are nearer than those of any later frame.
    """
    step = max(1, len(sample.patches) // _COMPARED)
    distance, place, ring = _distance_to_others(sample, chosen, step)
    total = torch.zeros(len(chosen)).index_add_(0, place, distance)
    count = torch.zeros(len(chosen)).index_add_(0, place, torch.ones_like(distance))
    overall = total.sum() / count.sum().clamp_min(1)
    usual = (total + PRIOR_WEIGHT * overall) / (count + PRIOR_WEIGHT)
    usual = (usual + FLOOR_SHARE * overall).clamp_min(SMALLEST_USUAL)
    rim = _rim_factors(distance / usual[place], ring)
    return Spread(usual.to(chosen.device), rim.to(chosen.device))


def _distance_to_others(sample: Sample, chosen: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of every `step`-th patch: 1 - cosine to the nearest chosen one of another source, which, and its ring.

    On the CPU, where sums have one order.
    """
    kept, kept_sources = sample.patches[chosen], sample.sources[chosen]
    found: list[tuple[Tensor, Tensor]] = []
    for patches, sources in zip(
        sample.patches[::step].split(2048), sample.sources[::step].split(2048), strict=True
    ):
        cosine = (patches @ kept.T).masked_fill(sources[:, None] == kept_sources[None], -2)
        best, place = cosine.max(1)
        found.append((best.cpu(), place.cpu()))
    best, place = (torch.cat(parts) for parts in zip(*found, strict=True))
    is_known = best > -2  # else all that is kept is from this one source
    return (1 - best[is_known]).clamp_min(0), place[is_known], sample.rings[::step].cpu()[is_known]


def _rim_factors(relative: Tensor, ring: Tensor) -> Tensor:
    """How much farther the farthest hundredth is in each ring than inside; 1 where too few are known.

    A picture cuts through whatever lies at its border, so normal is more varied there: on magnetic tiles
    three quarters of all normal pictures had their worst cell within 16 px of it.
    """
    inside = relative[ring == RINGS - 1]
    factors = torch.ones(RINGS)
    for k in range(RINGS - 1):
        there = relative[ring == k]
        if min(len(there), len(inside)) >= FEWEST_IN_RING:
            factors[k] = there.quantile(0.99) / inside.quantile(0.99).clamp_min(1e-6)
    return factors.clamp(1, 4)
