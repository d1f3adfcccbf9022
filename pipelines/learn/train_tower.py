"""Stage one of training Triad: its vision tower learns to name defects in crops, then is frozen.

Every patch token is taught which defect lies under it, and the tokens' mean is taught what the crop shows.
Dense labels teach a small ViT from scratch far sooner than one label per crop. The heads are thrown away.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import SiglipVisionModel

from pipelines.errors import InputRefused
from pipelines.learn.triad_pool import LABELS, NO_LABEL, Shard, Vocabulary, read_shard, written_shards
from pipelines.triad.model import new_tower, normalised

Progress = Callable[[str], None]

BATCH = 64
PEAK_RATE, WEIGHT_DECAY, WARM_UP = 1.5e-3, 0.05, 0.04
NORMAL_PATCH_WEIGHT = 0.2  # nine patches in ten are normal; unweighted, the tower calls faint defects normal
DEFECTIVE_SHARE = 0.6  # of a batch; in the pool it is a quarter
DEFECT = LABELS.index("defect")
SHARDS_AT_ONCE = 5  # one of each product; a batch is drawn across them
SAVE_EVERY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerSchedule:
    """``minutes`` of training on this machine, however far they lead: the learning rate follows the clock."""

    minutes: float
    seed: int = 0


class TowerStudent(nn.Module):
    """The tower under its throw-away heads."""

    def __init__(self, words: Vocabulary) -> None:
        super().__init__()
        self.tower = new_tower()
        width = self.tower.config.hidden_size
        self.stem_head = nn.Linear(width, len(words.defects))
        self.norm = nn.LayerNorm(width)
        self.patch_head = nn.Linear(width, len(words.defects))
        sizes = (len(words.products), len(words.defects), 5, 4, len(words.steps))
        self.crop_heads = nn.ModuleList(nn.Linear(width, size) for size in sizes)

    def forward(self, pixels: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """(B, 3, px, px) → patch logits (B, tokens, defects), from stem and tower, and one (B, classes)
        per column of LABELS. The stem has a head of its own because gradients through a young
        transformer teach it little."""
        states = self.tower(pixel_values=pixels, output_hidden_states=True).hidden_states
        tokens = self.norm(states[-1])
        mean = tokens.mean(dim=1)
        return [self.stem_head(states[0]), self.patch_head(tokens)], [head(mean) for head in self.crop_heads]


def train_tower(
    pool: Path, words: Vocabulary, checkpoints: Path, schedule: TowerSchedule, tell: Progress, *, device: str
) -> SiglipVisionModel:
    """Train, or go on from ``checkpoints/tower.safetensors``; returns the tower without its heads."""
    torch.manual_seed(schedule.seed)
    student = TowerStudent(words)
    file = checkpoints / "tower.safetensors"
    seen, done_before = 0, 0.0
    if file.exists():
        state = load_file(file)
        seen, done_before = int(state.pop("crops_seen")), float(state.pop("done_share"))
        student.load_state_dict(state)
    # Channels last: convolutions on a CPU are a fifth faster so.
    student.to(device).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(
        student.parameters(), lr=PEAK_RATE, weight_decay=WEIGHT_DECAY, betas=(0.9, 0.98)
    )
    start = saved = time.monotonic()
    losses: list[float] = []
    for shard, places in _batches(pool, schedule.seed + seen):
        done = done_before + (time.monotonic() - start) / (60 * schedule.minutes)
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * rate_share(done)
        loss = tower_loss(student, shard, places, device)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        seen += len(places)
        losses.append(float(loss.detach()))
        if time.monotonic() - saved > SAVE_EVERY_S:
            saved = time.monotonic()
            _save(student, seen, done, file)
            tell(f"tower: {done:.0%}, {seen} crops, loss {np.mean(losses[-100:]):.3f}")
    _save(student, seen, 1.0, file)
    return student.tower.cpu().eval()


def tower_loss(student: TowerStudent, shard: Shard, places: NDArray[np.int64], device: str) -> Tensor:
    pixels = torch.from_numpy(shard.pixels[places])
    patches = torch.from_numpy(shard.patches[places].astype(np.int64))
    labels = torch.from_numpy(shard.labels[places].astype(np.int64)).to(device)
    pixels, patches = augmented(pixels, patches)
    patch_logits, crop_logits = student(
        normalised(pixels.to(device)).contiguous(memory_format=torch.channels_last)
    )
    weights = torch.ones(patch_logits[0].shape[-1], device=device)
    weights[0] = NORMAL_PATCH_WEIGHT
    wanted = patches.flatten().to(device)
    loss = torch.zeros((), device=device)
    for logits in patch_logits:
        loss = loss + functional.cross_entropy(logits.flatten(0, 1), wanted, weight=weights)
    for column, logits in enumerate(crop_logits):
        if bool((labels[:, column] != NO_LABEL).any()):
            share = 1.0 if column == DEFECT else 0.3
            loss = loss + share * functional.cross_entropy(logits, labels[:, column], ignore_index=NO_LABEL)
    return loss


def augmented(pixels: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
    """Mirror and relight whole crops, (B, px, px, 3) uint8 → float 0..255. Turning is left out: a part's
    direction under the camera says which step made a mark."""
    for axis in (1, 2):
        flips = torch.rand(len(pixels)) < 0.5
        pixels = torch.where(flips[:, None, None, None], pixels.flip(axis), pixels)
        patches = torch.where(flips[:, None, None], patches.flip(axis), patches)
    gain = 1 + 0.2 * (torch.rand(len(pixels), 1, 1, 1) - 0.5)
    shift = 20 * (torch.rand(len(pixels), 1, 1, 1) - 0.5)
    grain = torch.randn(pixels.shape[:3])[..., None] * (4 * torch.rand(len(pixels), 1, 1, 1))
    return (pixels.float() * gain + shift + grain).clamp(0, 255), patches


def rate_share(done: float) -> float:
    """Linear warm-up, then a cosine down to 2 %; ``done`` in 0..1."""
    if done < WARM_UP:
        return max(0.02, done / WARM_UP)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, (done - WARM_UP) / (1 - WARM_UP))))


def _batches(pool: Path, seed: int) -> Iterator[tuple[Shard, NDArray[np.int64]]]:
    """Batches without end, over shards that may still be growing in number. A crop in which a defect
    is too small for any patch is left out: it would teach to guess."""
    rng = np.random.default_rng(seed)
    while True:
        known, given = written_shards(pool), 0
        groups = [known[at : at + SHARDS_AT_ONCE] for at in range(0, len(known), SHARDS_AT_ONCE)]
        for at in rng.permutation(len(groups)):
            shard = _joined([read_shard(pool, index) for index in groups[at]])
            shows_defect = shard.patches.any(axis=(1, 2))
            defective = rng.permutation(np.flatnonzero(shows_defect))
            others = rng.permutation(np.flatnonzero(~shows_defect & (shard.labels[:, DEFECT] <= 0)))
            wanted = round(DEFECTIVE_SHARE * BATCH)
            for turn in range(min(len(defective) // wanted, len(others) // (BATCH - wanted))):
                bad = defective[turn * wanted : (turn + 1) * wanted]
                good = others[turn * (BATCH - wanted) : (turn + 1) * (BATCH - wanted)]
                given += 1
                yield shard, np.concatenate([bad, good])
        if not given:
            raise InputRefused(f"{pool} holds too few crops for one batch: run the stage 'pool' first")


def _joined(shards: list[Shard]) -> Shard:
    return Shard(
        pixels=np.concatenate([shard.pixels for shard in shards]),
        patches=np.concatenate([shard.patches for shard in shards]),
        labels=np.concatenate([shard.labels for shard in shards]),
        cases=(),
    )


def _save(student: TowerStudent, seen: int, done: float, file: Path) -> None:
    """Weights and progress; AdamW's moments are rebuilt within some hundred steps and not kept."""
    file.parent.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in student.state_dict().items()}
    part = file.with_suffix(".part")
    progress = {"crops_seen": torch.tensor(seen), "done_share": torch.tensor(done, dtype=torch.float64)}
    save_file({**state, **progress}, part)
    part.replace(file)
