"""How a defect network is taught, whatever it looks at: batches in, averaged weights out; resumable."""

import math
import time
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.learn.train_encoder import segmentation_loss
from pipelines.localize.defect_network import OUTPUT_STRIDE_PX, DefectNetwork

AVERAGE_DECAY = 0.998
WARM_STEPS = 50
WEIGHT_DECAY = 0.02
BARELY_COVERED = 0.3  # of a 2x2 cell: neither defect nor normal


@dataclass(frozen=True, slots=True, eq=False)
class DefectBatch:
    """`x` (B, 4, H, W) as `normalised` gives it, `distance` (B, 1, H/8, W/8), `mask` (B, 1, H, W) in 0..1."""

    x: Tensor
    distance: Tensor
    mask: Tensor


@dataclass(slots=True, eq=False)
class DefectTraining:
    """A network, its running average and its optimizer; `elapsed_s` counts training time only."""

    network: DefectNetwork
    rate: float
    average: torch.optim.swa_utils.AveragedModel = field(init=False)
    optimizer: torch.optim.Optimizer = field(init=False)
    steps: int = 0
    elapsed_s: float = 0.0
    loss: float = math.nan

    def __post_init__(self) -> None:
        self.network = self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = torch.optim.swa_utils.AveragedModel(
            self.network,
            multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGE_DECAY),
            use_buffers=True,
        )
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=self.rate, weight_decay=WEIGHT_DECAY)

    @property
    def averaged(self) -> DefectNetwork:
        module = self.average.module
        assert isinstance(module, DefectNetwork)
        return module

    @property
    def parts(self) -> dict[str, nn.Module]:
        """What a checkpoint keeps."""
        return {"network": self.network, "average": self.average}

    def train_on(self, batch: DefectBatch, *, done: float) -> None:
        """One step; `done` is the share of the training that lies behind, over which the rate falls."""
        began = time.monotonic()
        falling = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        rate = self.rate * min(1.0, (self.steps + 1) / WARM_STEPS) * falling + 1e-6
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self._step(batch)
        self.steps += 1
        self.elapsed_s += time.monotonic() - began

    def _step(self, batch: DefectBatch) -> None:
        self.network.train()
        logit = self.network(batch.x.contiguous(memory_format=torch.channels_last), batch.distance)
        covered = functional.avg_pool2d(batch.mask, OUTPUT_STRIDE_PX)
        label = (covered >= BARELY_COVERED).float()
        weight = ((covered == 0) | (label > 0)).float()
        loss = segmentation_loss(logit.flatten(1), label.flatten(1), weight.flatten(1))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.average.update_parameters(self.network)
        value = float(loss.detach())
        self.loss = value if math.isnan(self.loss) else 0.98 * self.loss + 0.02 * value
