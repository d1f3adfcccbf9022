"""Which patches of the normal frames are worth remembering, and how far from each of them normal is."""

from dataclasses import dataclass

import torch
from torch import Tensor

PRIOR_WEIGHT = 3.0  # patches' worth of trust in the average over all, where a patch has few neighbours
FLOOR_SHARE = 0.5  # of that average is added, so that a very even place does not make specks of dust loud
SMALLEST_USUAL = 1e-3  # of cosine: one picture of a flat surface has no spread at all
_COMPARED = 16_000  # sampled patches looked at for the usual distance


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Patches (n, D), unit length, and for each the picture, or part of one, it is from (n,), int64."""

    patches: Tensor
    sources: Tensor


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
def usual_distance(sample: Sample, chosen: Tensor) -> Tensor:
    """Mean (1 - cosine) of normal patches from other sources to each chosen patch, (len(chosen),).

    Patches of its own picture are left out, because they are nearer than those of any later frame.
    """
    kept, kept_sources = sample.patches[chosen], sample.sources[chosen]
    total, count = torch.zeros(len(kept)), torch.zeros(len(kept))  # on the CPU: there sums have one order
    step = max(1, len(sample.patches) // _COMPARED)
    for patches, sources in zip(
        sample.patches[::step].split(2048), sample.sources[::step].split(2048), strict=True
    ):
        cosine = (patches @ kept.T).masked_fill(sources[:, None] == kept_sources[None], -2)
        best, place = (found.cpu() for found in cosine.max(1))
        is_known = best > -2  # else all that is kept is from this one source
        total.index_add_(0, place[is_known], (1 - best[is_known]).clamp_min(0))
        count.index_add_(0, place[is_known], torch.ones_like(best[is_known]))
    overall = total.sum() / count.sum().clamp_min(1)
    usual = (total + PRIOR_WEIGHT * overall) / (count + PRIOR_WEIGHT)
    return (usual + FLOOR_SHARE * overall).clamp_min(SMALLEST_USUAL).to(kept.device)
