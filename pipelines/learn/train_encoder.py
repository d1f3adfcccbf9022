"""Training of the bundled encoder: to find a defect by comparing with a normal view of the same surface.

The loss is what the patch memory will do with the features. Each patch of the flawed view takes its
greatest cosine to any patch of the normal view; low must mean defect (focal + Dice against the mask).
Against another surface's normal view everything must look foreign, so that features tell surfaces apart
and not only "flawed" from "clean". A second head guesses defects without a reference, and whole-picture
vectors of two views of one surface are drawn together (for retrieval).
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.learn.ahead import ahead
from pipelines.learn.checkpoint import resume, save_checkpoint
from pipelines.learn.texture_pairs import PairBatch, texture_pairs
from pipelines.localize.encoder import save_weights
from pipelines.localize.surface_network import SurfaceNetwork, normalised

PAIRS_PER_STEP = 8
PEAK_RATE = 2e-3
WARM_STEPS = 100
AVERAGE_DECAY = 0.998
CHECKPOINT_EVERY_S = 120.0
BARELY_COVERED = 0.12  # of a 4x4 cell: neither defect nor normal

Progress = Callable[[dict[str, float]], None]


class _Scale(nn.Module):
    """Turns a cosine into a logit of "foreign": one gain and one threshold for all surfaces."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(2.5))  # log
        self.threshold = nn.Parameter(torch.tensor(0.6))

    def forward(self, cosine: Tensor) -> Tensor:
        return self.gain.exp() * (self.threshold - cosine)


@dataclass
class _Run:
    """All that a checkpoint keeps."""

    network: SurfaceNetwork
    average: torch.optim.swa_utils.AveragedModel
    scale: _Scale
    optimizer: torch.optim.Optimizer
    steps: int = 0
    elapsed_s: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)


def train_encoder(
    *,
    out: Path,
    minutes: float,
    checkpoint: Path,
    device: str = "cpu",
    seed: int = 0,
    progress: Progress = lambda _: None,
) -> Path:
    """Train until `minutes` of training time are spent in all, and write the averaged weights to `out`.

    Resumes from `checkpoint` if that file exists, with the time already spent counted in.
    """
    run = _new_run(device, seed)
    run.steps, run.elapsed_s = resume(checkpoint, _parts(run), run.optimizer, device=device)
    saved_at = time.monotonic()
    for batch in ahead(texture_pairs(seed, PAIRS_PER_STEP, run.steps)):
        began = time.monotonic()
        _set_rate(run, minutes * 60)
        _step(run, batch, device)
        run.steps += 1
        run.elapsed_s += time.monotonic() - began
        if run.steps % 50 == 0:
            progress({"steps": run.steps, "elapsed_s": run.elapsed_s, **run.losses})
        is_over = run.elapsed_s >= minutes * 60
        if is_over or time.monotonic() - saved_at > CHECKPOINT_EVERY_S:
            save_checkpoint(checkpoint, _parts(run), run.optimizer, steps=run.steps, elapsed_s=run.elapsed_s)
            save_weights(_averaged(run), out, _provenance(run, seed))
            saved_at = time.monotonic()
        if is_over:
            break
    return out


def _new_run(device: str, seed: int) -> _Run:
    torch.manual_seed(seed)
    network = SurfaceNetwork().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    scale = _Scale().to(device)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGE_DECAY), use_buffers=True
    )
    parameters = [*network.parameters(), *scale.parameters()]
    return _Run(network, average, scale, torch.optim.AdamW(parameters, lr=PEAK_RATE, weight_decay=0.02))


def _set_rate(run: _Run, total_s: float) -> None:
    """Warm up, then half a cosine over the time that was asked for."""
    done = min(1.0, run.elapsed_s / total_s)
    rate = PEAK_RATE * min(1.0, (run.steps + 1) / WARM_STEPS) * 0.5 * (1 + math.cos(math.pi * done)) + 1e-6
    for group in run.optimizer.param_groups:
        group["lr"] = rate


def _step(run: _Run, batch: PairBatch, device: str) -> None:
    loss, parts = _loss(run, batch, device)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(run.network.parameters(), 1.0)
    run.optimizer.step()
    run.average.update_parameters(run.network)
    for name, value in parts.items():
        run.losses[name] = 0.98 * run.losses.get(name, value) + 0.02 * value


def _loss(run: _Run, batch: PairBatch, device: str) -> tuple[Tensor, dict[str, float]]:
    def view(pixels: Any, level: Any) -> Tensor:
        levels = torch.from_numpy(level).to(device)
        x = normalised(torch.from_numpy(pixels).to(device), levels[:, 0], levels[:, 1])
        return x.contiguous(memory_format=torch.channels_last)

    pairs = len(batch.mask)
    seen = run.network(
        torch.cat([view(batch.normal, batch.normal_level), view(batch.flawed, batch.flawed_level)])
    )
    label, weight = _cells(torch.from_numpy(batch.mask).to(device))
    known, asked = seen.patches[:pairs].flatten(2), seen.patches[pairs:].flatten(2)
    cosine = _nearest(asked, known)
    compared = segmentation_loss(run.scale(cosine), label.flatten(1), weight.flatten(1))
    guessed = segmentation_loss(seen.defect_logit[pairs:].flatten(1), label.flatten(1), weight.flatten(1))
    foreign_cosine = _nearest(asked[:, :, ::3], known.roll(1, 0)[:, :, ::2])
    foreign = functional.softplus(-run.scale(foreign_cosine)).mean()
    likeness = seen.whole[pairs:] @ seen.whole[:pairs].T / 0.1
    own = torch.arange(pairs, device=likeness.device)
    whole = functional.cross_entropy(likeness, own)
    loss = compared + 0.5 * guessed + 0.2 * foreign + 0.05 * whole
    parts = {"compared": compared, "guessed": guessed, "foreign": foreign, "whole": whole}
    return loss, {name: float(value.detach()) for name, value in parts.items()}


def _nearest(asked: Tensor, known: Tensor) -> Tensor:
    """Greatest cosine of each asked patch (B, D, n) to any known one (B, D, m) → (B, n).

    The search is left out of the gradient, which only ever reaches the nearest pair; halves a step's time.
    """
    with torch.no_grad():
        place = torch.bmm(asked.transpose(1, 2), known).argmax(2)
    return (asked * known.gather(2, place[:, None].expand(-1, known.shape[1], -1))).sum(1)


def _cells(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels (B, 1, H, W) → labels and weights (B, 1, H/4, W/4); a barely covered cell counts for nothing."""
    covered = functional.avg_pool2d(mask, 4)
    label = (covered >= BARELY_COVERED).float()
    return label, ((covered == 0) | (label > 0)).float()


def segmentation_loss(logit: Tensor, label: Tensor, weight: Tensor) -> Tensor:
    """Focal loss (Lin et al. 2017, arXiv 1708.02002, gamma 2) plus soft Dice; all (B, cells)."""
    p = logit.sigmoid()
    entropy = functional.binary_cross_entropy_with_logits(logit, label, reduction="none")
    miss = torch.where(label > 0, 1 - p, p)
    focal = (miss.square() * entropy * weight).sum() / weight.sum()
    p = p * weight
    dice = 1 - (2 * (p * label).sum(1) + 2) / (p.sum(1) + (label * weight).sum(1) + 2)
    return 5 * focal + 0.3 * dice.mean()


def _averaged(run: _Run) -> SurfaceNetwork:
    module = run.average.module
    assert isinstance(module, SurfaceNetwork)
    return module


def _provenance(run: _Run, seed: int) -> dict[str, str]:
    seen = run.steps * PAIRS_PER_STEP * 2
    return {
        "trained_on": "formula-made surfaces and simulated lines only (pipelines/learn/texture_pairs.py)",
        "steps": str(run.steps),
        "pictures_160px": str(seen),
        "minutes": f"{run.elapsed_s / 60:.1f}",
        "seed": str(seed),
    }


def _parts(run: _Run) -> dict[str, torch.nn.Module]:
    return {"network": run.network, "average": run.average, "scale": run.scale}
