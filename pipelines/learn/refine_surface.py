"""A defect network made better for one product: shown its normal pictures, with defects made by formula."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from pipelines.frame import Picture
from pipelines.learn.ahead import ahead
from pipelines.learn.defect_batches import ProductBatches
from pipelines.learn.defect_training import DefectTraining
from pipelines.localize.defect_network import DefectNetwork
from pipelines.localize.encoder import Encoder
from pipelines.localize.patch_memory import Remembered
from pipelines.localize.surface_expert import SurfaceExpert

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refinement:
    """How long, in steps of `crops` crops of 128 x 128 px: 100 steps take a minute or two on two cores."""

    steps: int = 2000
    crops: int = 24
    rate: float = 7e-4
    seed: int = 0


def refine_surface(
    pictures: Sequence[Picture],
    *,
    encoder: Encoder,
    remembered: Remembered,
    network: DefectNetwork,
    refinement: Refinement,
    progress: Progress = lambda what, done, of: None,
) -> SurfaceExpert:
    """Train `network` further, on the pictures that `remembered` came from, and give the expert.

    Pictures are told apart from the memory's own patches of them, as a frame that nobody remembers will be.
    """
    torch.manual_seed(refinement.seed)
    training = DefectTraining(network, refinement.rate)
    shown = ProductBatches(pictures, encoder=encoder, remembered=remembered, seed=refinement.seed)
    for batch in ahead(shown.batches(refinement.crops)):
        if training.steps == refinement.steps:
            break
        training.train_on(batch, done=training.steps / refinement.steps)
        progress("refining the surface network", training.steps, refinement.steps)
    return SurfaceExpert(encoder, remembered.patches, training.averaged)
