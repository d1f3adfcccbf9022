"""Training the small Triad from nothing but the line simulator: pool, tower, features, decoder, files.

Each stage can be stopped at any time and goes on where it was; ``triad train`` calls this. All that is
learned is in safetensors: nothing that is loaded can run code.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import orjson
import torch
from safetensors.torch import load_file
from transformers import SiglipVisionModel

from pipelines.errors import InputRefused
from pipelines.learn.simulator import SimulatedLine, simulated_lines
from pipelines.learn.train_decoder import (
    DecoderSchedule,
    cache_features,
    new_network,
    open_textbook,
    train_decoder,
)
from pipelines.learn.train_tower import Progress, TowerSchedule, TowerStudent, train_tower
from pipelines.learn.triad_pool import Vocabulary, vocabulary, write_shard
from pipelines.learn.triad_tokenizer import train_tokenizer
from pipelines.triad.model import GRID, VIEW_PX, save_triad
from pipelines.triad.questions import TrainedProduct

SHARDS = 200  # 16,000 cases, 84,000 crops, 4.2 GB
TOWER_SHARE = 0.6  # of the minutes that all stages get together


class TrainingStage(StrEnum):
    POOL = "pool"
    TOWER = "tower"
    FEATURES = "features"
    DECODER = "decoder"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class TriadTraining:
    """What to train and for how long. ``minutes`` are those of the stage, or of tower and decoder together.

    ``seed`` fixes the initial weights and the order of batches. Rates follow the clock, so two runs agree
    only where they get equally far; the pool's pictures depend on nothing but their number.
    """

    stage: TrainingStage = TrainingStage.ALL
    minutes: float = 90.0
    seed: int = 0
    device: str = "cpu"
    shards: int = SHARDS


def train_triad(out: Path, checkpoints: Path, training: TriadTraining, tell: Progress) -> None:
    """Run a stage (or all of them), keeping work in ``checkpoints`` and leaving the model's files in ``out``.

    Raises:
        InputRefused: A stage is asked for before the one it needs, or for a device that is not there.
    """
    if not training.device.startswith("cpu") and not torch.cuda.is_available():
        raise InputRefused(f"device {training.device!r}: this machine has no CUDA device; use 'cpu'")
    lines = simulated_lines()
    words = vocabulary(lines)
    _check_vocabulary(words, checkpoints)
    pool = checkpoints / "pool"
    is_all, stage = training.stage is TrainingStage.ALL, training.stage
    if is_all or stage is TrainingStage.POOL:
        for index in range(training.shards):
            write_shard(pool, index, lines, words, view_px=VIEW_PX, grid=GRID)
            tell(f"pool: shard {index + 1} of {training.shards}")
    if is_all or stage is TrainingStage.TOWER:
        minutes = training.minutes * (TOWER_SHARE if is_all else 1)
        schedule = TowerSchedule(minutes=minutes, seed=training.seed)
        train_tower(pool, words, checkpoints, schedule, tell, device=training.device)
    if is_all or stage is TrainingStage.FEATURES:
        tower, own = _tower(words, checkpoints)
        cache_features(pool, tower, own / "features", tell, device=training.device)
    if is_all or stage is TrainingStage.DECODER:
        minutes = training.minutes * (1 - TOWER_SHARE if is_all else 1)
        _decoder_stage(out, checkpoints, training, minutes, lines, tell)


def trained_products(lines: Mapping[str, SimulatedLine]) -> dict[str, TrainedProduct]:
    """What the manifest says that the weights know: every defect and step of the simulated lines."""
    return {
        name: TrainedProduct(
            defects=tuple(defect.id for defect in line.knowledge.defects),
            steps=tuple(step.id for step in line.knowledge.steps),
        )
        for name, line in lines.items()
    }


def _decoder_stage(
    out: Path,
    checkpoints: Path,
    training: TriadTraining,
    minutes: float,
    lines: Mapping[str, SimulatedLine],
    tell: Progress,
) -> None:
    tower, own = _tower(vocabulary(lines), checkpoints)
    features = own / "features"
    if not any(features.glob("*.safetensors")):
        raise InputRefused(f"{features} is empty: run the stage 'features' before 'decoder'")
    knowledge = {name: line.knowledge for name, line in lines.items()}
    tokenizer = train_tokenizer(knowledge.values())
    network = new_network(tokenizer, tower, training.seed).to(training.device)
    book = open_textbook(checkpoints / "pool", features)
    schedule = DecoderSchedule(minutes=minutes, seed=training.seed)
    train_decoder(book, knowledge, network, tokenizer, own, schedule, tell)
    save_triad(out, network.cpu(), tokenizer, trained_products(lines))
    tell(f"saved to {out}")


def _tower(words: Vocabulary, checkpoints: Path) -> tuple[SiglipVisionModel, Path]:
    """The tower as it stands, and the folder of what was computed with exactly this one."""
    file = checkpoints / "tower.safetensors"
    if not file.exists():
        raise InputRefused(f"{file} is missing: run the stage 'tower' first")
    student = TowerStudent(words)
    state = load_file(file)
    student.load_state_dict({name: one for name, one in state.items() if name in student.state_dict()})
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return student.tower.eval(), checkpoints / f"tower-{digest[:12]}"


def _check_vocabulary(words: Vocabulary, checkpoints: Path) -> None:
    """A pool's labels are numbers: they must never be read with another list of defects."""
    file = checkpoints / "vocabulary.json"
    body = orjson.dumps({"defects": words.defects, "products": words.products, "steps": words.steps})
    if not file.exists():
        checkpoints.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)
    elif file.read_bytes() != body:
        raise InputRefused(
            f"{checkpoints} belongs to another simulator: start with an empty checkpoint folder"
        )
