"""A defect network taught on a product's own normal pictures: batches in, averaged weights out; resumable."""

import math
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from pipelines.frame import Picture
from pipelines.learn.checkpoint import resume, save_checkpoint
from pipelines.learn.defect_crops import DefectCrop, DefectCrops
from pipelines.localize.defect_network import OUTPUT_STRIDE_PX, DefectNetwork, defect_view

AVERAGE_DECAY = 0.998
WARM_STEPS = 300
WEIGHT_DECAY = 0.02
BARELY_COVERED = 0.3  # of a 2x2 cell: neither defect nor normal
WORST_CELLS = 20  # that stand for their piece: about what a small defect covers
CHECKPOINT_EVERY_S = 120.0
_MADE_AHEAD = 6  # batches
_NEVER_WORST = -30.0  # a logit

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refinement:
    """How long a network is trained: 6,500 steps of 16 pieces take about an hour and a half on two cores."""

    steps: int = 6500
    crops: int = 16
    rate: float = 2e-3
    seed: int = 0


@dataclass(slots=True, eq=False)
class DefectTraining:
    """A network on its device, its running average and its optimizer; ``elapsed_s`` is of all its steps."""

    network: DefectNetwork
    refinement: Refinement
    average: AveragedModel = field(init=False)
    optimizer: torch.optim.Optimizer = field(init=False)
    steps: int = 0
    elapsed_s: float = 0.0

    def __post_init__(self) -> None:
        self.network = self.network.to(memory_format=torch.channels_last)
        self.average = AveragedModel(self.network, multi_avg_fn=_averaged, use_buffers=True)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=self.refinement.rate, weight_decay=WEIGHT_DECAY
        )

    @property
    def averaged(self) -> DefectNetwork:
        module = self.average.module
        assert isinstance(module, DefectNetwork)
        return module

    def train_on(self, batch: DefectCrop) -> float:
        """One step, and its loss. The rate falls with the steps and not with the clock, which others slow."""
        began = time.monotonic()
        falling = 0.5 * (1 + math.cos(math.pi * min(1.0, self.steps / self.refinement.steps)))
        warm = min(WARM_STEPS, self.refinement.steps // 10 + 1)
        rate = self.refinement.rate * min(1.0, (self.steps + 1) / warm) * falling + 1e-6
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        view = defect_view(batch.rgb, batch.level[:, 0], batch.level[:, 1], batch.inside)
        loss = defect_loss(self.network(view), batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.average.update_parameters(self.network)
        self.steps += 1
        self.elapsed_s += time.monotonic() - began
        return float(loss.detach())

    def resume(self, checkpoint: Path, *, device: str) -> None:
        self.steps, self.elapsed_s = resume(checkpoint, self._parts, self.optimizer, device=device)

    def save(self, checkpoint: Path) -> None:
        save_checkpoint(checkpoint, self._parts, self.optimizer, steps=self.steps, elapsed_s=self.elapsed_s)

    @property
    def _parts(self) -> dict[str, nn.Module]:
        return {"network": self.network, "average": self.average}


def _averaged(kept: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
    """A running average that soon forgets the beginning: a short training is averaged over less."""
    decay = min(AVERAGE_DECAY, (1 + int(count)) / (10 + int(count)))
    get_ema_multi_avg_fn(decay)(kept, current, count)


def defect_loss(logit: Tensor, batch: DefectCrop) -> Tensor:
    """Of each cell, of the batch's defects together, and of each piece by its worst cells.

    Focal loss (Lin et al. 2017, arXiv 1708.02002, gamma 2), soft Dice, and whether the piece has a defect at
    all: a frame is judged by its worst place.
    """
    covered = functional.avg_pool2d(batch.mask, OUTPUT_STRIDE_PX)
    label = (covered >= BARELY_COVERED).float()
    weight = ((covered == 0) | (label > 0)).float() * functional.avg_pool2d(batch.inside, OUTPUT_STRIDE_PX)
    p = logit.sigmoid()
    entropy = functional.binary_cross_entropy_with_logits(logit, label, reduction="none")
    miss = torch.where(label > 0, 1 - p, p)
    focal = (miss.square() * entropy * weight).sum() / weight.sum()
    p = p * weight
    dice = 1 - (2 * (p * label).sum() + 1) / (p.sum() + (label * weight).sum() + 1)
    counted = logit.masked_fill(weight == 0, _NEVER_WORST).flatten(1)
    worst = counted.topk(min(WORST_CELLS, counted.shape[1]), 1).values.mean(1)
    whole = functional.binary_cross_entropy_with_logits(worst, label.flatten(1).amax(1))
    return 4 * focal + 0.2 * dice + 0.1 * whole


def train_on_normals(
    pictures: Sequence[Picture],
    *,
    refinement: Refinement,
    start: DefectNetwork | None = None,
    checkpoint: Path | None = None,
    device: str = "cpu",
    progress: Progress = lambda what, done, of: None,
) -> DefectNetwork:
    """A network that has learned, on these pictures and with defects made by formula, what a defect is.

    ``start`` has learned already, and a copy of it is trained from the full rate again: a warm restart
    (Loshchilov & Hutter 2017, arXiv 1608.03983).

    Goes on from ``checkpoint`` where there is that file, and keeps it up to date every two minutes: it is of
    the same pictures, refinement and start, or of no use. The same input on the same machine gives the same
    network, unless it was stopped in between.
    """
    torch.manual_seed(refinement.seed)
    network = DefectNetwork()
    if start is not None:
        network.load_state_dict(start.state_dict())
    training = DefectTraining(network.to(device), refinement)
    if checkpoint is not None:
        training.resume(checkpoint, device=device)
    # Neither the pieces before the stop again, nor those that `start` has learned from.
    seed = refinement.seed + training.steps + (0 if start is None else _checksum(start))
    loader = DataLoader(
        DefectCrops(pictures, seed=seed),
        refinement.crops,
        num_workers=1,
        prefetch_factor=_MADE_AHEAD,
        multiprocessing_context="spawn",  # a copy of this process would hold its locks and connections
    )
    saved_at = time.monotonic()
    batches = iter(loader)
    while training.steps < refinement.steps:
        batch = DefectCrop(*(each.to(device) for each in next(batches)))
        training.train_on(batch)
        progress("learning what a defect is", training.steps, refinement.steps)
        is_over = training.steps == refinement.steps
        if checkpoint is not None and (is_over or time.monotonic() - saved_at > CHECKPOINT_EVERY_S):
            training.save(checkpoint)
            saved_at = time.monotonic()
    return training.averaged


def _checksum(network: DefectNetwork) -> int:
    return zlib.crc32(network.to_logit.weight.detach().cpu().numpy().tobytes())
