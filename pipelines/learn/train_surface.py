"""Training of the bundled defect network: on surfaces and defects made by formula, and no real picture."""

import time
from collections.abc import Callable
from pathlib import Path

import torch

from pipelines.learn.ahead import ahead
from pipelines.learn.checkpoint import resume, save_checkpoint
from pipelines.learn.defect_batches import texture_batches
from pipelines.learn.defect_training import DefectTraining
from pipelines.localize.defect_network import DefectNetwork
from pipelines.localize.encoder import Encoder, load_network
from pipelines.localize.surface_expert import save_defect_network

PAIRS_PER_STEP = 12
RATE = 1e-3
CHECKPOINT_EVERY_S = 120.0

Progress = Callable[[dict[str, float]], None]


def train_surface(
    *,
    out: Path,
    encoder: Encoder,
    minutes: float,
    checkpoint: Path,
    seed: int = 0,
    progress: Progress = lambda _: None,
) -> Path:
    """Train until `minutes` of training time are spent in all, and write the averaged weights to `out`.

    The way down starts from the bundled encoder's. Resumes from `checkpoint` if that file exists, with the
    time already spent counted in.
    """
    torch.manual_seed(seed)
    network = DefectNetwork()
    network.start_from(load_network())
    training = DefectTraining(network, RATE)
    training.steps, training.elapsed_s = resume(checkpoint, training.parts, training.optimizer, device="cpu")
    saved_at = time.monotonic()
    for batch in ahead(texture_batches(encoder, seed=seed, pairs=PAIRS_PER_STEP, start=training.steps)):
        training.train_on(batch, done=training.elapsed_s / (minutes * 60))
        if training.steps % 50 == 0:
            progress({"steps": training.steps, "elapsed_s": training.elapsed_s, "loss": training.loss})
        is_over = training.elapsed_s >= minutes * 60
        if is_over or time.monotonic() - saved_at > CHECKPOINT_EVERY_S:
            save_checkpoint(
                checkpoint,
                training.parts,
                training.optimizer,
                steps=training.steps,
                elapsed_s=training.elapsed_s,
            )
            save_defect_network(training.averaged, out, _provenance(training, encoder, seed))
            saved_at = time.monotonic()
        if is_over:
            break
    return out


def _provenance(training: DefectTraining, encoder: Encoder, seed: int) -> dict[str, str]:
    return {
        "trained_on": "formula-made surfaces and simulated lines only (pipelines/learn/texture_pairs.py)",
        "encoder": encoder.digest,
        "steps": str(training.steps),
        "pictures_160px": str(training.steps * PAIRS_PER_STEP),
        "minutes": f"{training.elapsed_s / 60:.1f}",
        "seed": str(seed),
    }
