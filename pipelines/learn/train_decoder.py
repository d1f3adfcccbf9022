"""Stage two of training Triad: the tower stands still, projector and decoder learn to answer.

One sequence per case holds the prompt and the whole transcript, so that one pass teaches every slot.
Tower features are computed once per crop and kept beside the pool.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlavaOnevisionForConditionalGeneration, SiglipVisionModel

from pipelines.knowledge import ProductKnowledge
from pipelines.learn.lessons import IGNORED, Lesson, lesson
from pipelines.learn.train_tower import Progress, rate_share
from pipelines.learn.triad_pool import PooledCase, read_shard, written_shards
from pipelines.triad.eg_roi_tokens import lay_out
from pipelines.triad.model import STEM, normalised, triad_config, with_stem

BATCH = 16
SORTED_TOGETHER = 8  # batches
PEAK_RATE, WEIGHT_DECAY = 1.5e-3, 0.05
VERDICT_WEIGHT = 2.0  # a normal frame's only choice, against five of a defective one's
SAVE_EVERY_S = 60.0
FEATURES = "features"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Textbook:
    """All cases and the tower's tokens of all their crops, (crops, tokens, width) float16."""

    cases: tuple[PooledCase, ...]
    features: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderSchedule:
    """``minutes`` on this machine; the learning rate follows the clock."""

    minutes: float
    seed: int = 0


def cache_features(
    pool: Path, tower: SiglipVisionModel, folder: Path, tell: Progress, *, device: str
) -> None:
    """Write each shard's tower tokens to ``folder``; shards that are already there are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    tower = tower.to(device).eval()
    for index in written_shards(pool):
        file = folder / f"{index:05d}.safetensors"
        if file.exists():
            continue
        pixels = torch.from_numpy(read_shard(pool, index).pixels)
        with torch.inference_mode():
            parts = [
                tower(normalised(part.to(device)), output_hidden_states=True).hidden_states[-1].half().cpu()
                for part in pixels.split(64)
            ]
        part_file = file.with_suffix(".part")
        save_file({FEATURES: torch.cat(parts)}, part_file)
        part_file.replace(file)
        tell(f"features: shard {index}")


def open_textbook(pool: Path, folder: Path) -> Textbook:
    """Every shard that has features; crops are renumbered over all shards."""
    cases: list[PooledCase] = []
    features: list[Tensor] = []
    first = 0
    for index in written_shards(pool):
        file = folder / f"{index:05d}.safetensors"
        if not file.exists():
            continue
        for case in read_shard(pool, index).cases:
            query = tuple(first + place for place in case.query)
            reference = tuple(first + place for place in case.reference)
            cases.append(replace(case, query=query, reference=reference))
        features.append(load_file(file)[FEATURES])
        first += len(features[-1])
    return Textbook(cases=tuple(cases), features=torch.cat(features))


def train_decoder(
    book: Textbook,
    knowledge: Mapping[str, ProductKnowledge],
    network: LlavaOnevisionForConditionalGeneration,
    tokenizer: Tokenizer,
    checkpoints: Path,
    schedule: DecoderSchedule,
    tell: Progress,
) -> None:
    """Train projector and decoder in place, or go on from ``checkpoints/decoder.safetensors``."""
    network.model.vision_tower.requires_grad_(False)
    file = checkpoints / "decoder.safetensors"
    done_before = _resume(network, file) if file.exists() else 0.0
    if not done_before:
        scale_projector(network, book.features[:: max(1, len(book.features) // 500)])
    taught = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(taught, lr=PEAK_RATE, weight_decay=WEIGHT_DECAY, betas=(0.9, 0.98))
    rng = np.random.default_rng((schedule.seed, int(done_before * 1000)))
    network.train()
    start = saved = time.monotonic()
    losses: list[float] = []
    done = done_before
    batches = _batches(book, knowledge, tokenizer, rng)
    while (done := done_before + (time.monotonic() - start) / (60 * schedule.minutes)) < 1:
        batch = next(batches)
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * rate_share(done)
        loss = decoder_loss(network, batch, book.features)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(taught, 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        if time.monotonic() - saved > SAVE_EVERY_S:
            saved = time.monotonic()
            _save(network, done, file)
            tell(f"decoder: {done:.0%}, {BATCH * len(losses)} cases, loss {np.mean(losses[-100:]):.3f}")
    _save(network, 1.0, file)
    network.eval()


def _batches(
    book: Textbook,
    knowledge: Mapping[str, ProductKnowledge],
    tokenizer: Tokenizer,
    rng: np.random.Generator,
) -> Iterator[list[Lesson]]:
    """Batches without end. Lessons of like length go together, else a fifth of the work is padding."""
    while True:
        order = rng.permutation(len(book.cases))
        for some in np.array_split(order, max(1, len(order) // (BATCH * SORTED_TOGETHER))):
            cases = [book.cases[int(place)] for place in some]
            lessons = [lesson(case, knowledge[case.product], tokenizer, rng) for case in cases]
            lessons.sort(key=lambda one: len(one.ids))
            starts = range(0, len(lessons), BATCH)
            for start in rng.permutation(np.array(starts)):
                yield lessons[int(start) : int(start) + BATCH]


def decoder_loss(
    network: LlavaOnevisionForConditionalGeneration, batch: Sequence[Lesson], features: Tensor
) -> Tensor:
    """Cross entropy on what had to be chosen; the first choice, the verdict, counts more."""
    device = network.device
    longest = max(len(one.ids) for one in batch)
    ids, targets = (torch.full((len(batch), longest), fill) for fill in (0, IGNORED))
    for row, one in enumerate(batch):
        ids[row, : len(one.ids)] = torch.tensor(one.ids)
        targets[row, : len(one.ids)] = torch.tensor(one.targets)
    real = torch.zeros_like(ids)
    for row, one in enumerate(batch):
        real[row, : len(one.ids)] = 1
    crops = [place for one in batch for place in one.crops]
    pictures = lay_out(
        network, features[crops].float().to(device), [count for one in batch for count in one.views]
    )
    ids, targets, real = ids.to(device), targets.to(device), real.to(device)
    places = ids == network.config.image_token_index
    words: Tensor = network.get_input_embeddings()(ids)
    embedded = words.masked_scatter(places[..., None], torch.cat(pictures).to(words))
    hidden = network.model.language_model(inputs_embeds=embedded, attention_mask=real).last_hidden_state
    wanted = targets[:, 1:]
    rows, columns = torch.nonzero(wanted != IGNORED, as_tuple=True)
    logits = network.lm_head(hidden[rows, columns])
    each = functional.cross_entropy(logits, wanted[rows, columns], reduction="none")
    is_first = torch.ones_like(rows, dtype=torch.bool)
    is_first[1:] = rows[1:] != rows[:-1]
    weights = torch.where(is_first, VERDICT_WEIGHT, 1.0)
    return (each * weights).sum() / weights.sum()


def new_network(
    tokenizer: Tokenizer, tower: SiglipVisionModel, seed: int
) -> LlavaOnevisionForConditionalGeneration:
    torch.manual_seed(seed)
    network = LlavaOnevisionForConditionalGeneration(triad_config(tokenizer))
    with_stem(network.model.vision_tower, STEM)
    network.model.vision_tower.load_state_dict(tower.state_dict())
    return network


def scale_projector(network: LlavaOnevisionForConditionalGeneration, features: Tensor) -> None:
    """Start the projector on features of zero mean and unit variance: a raw residual stream is neither."""
    layer = network.model.multi_modal_projector.linear_1
    flat = features.float().flatten(0, 1)
    mean, spread = flat.mean(dim=0), flat.std(dim=0) + 1e-3
    with torch.no_grad():
        nn.init.normal_(layer.weight, std=1 / math.sqrt(layer.in_features))
        layer.weight.div_(spread)
        layer.bias.copy_(-layer.weight @ mean)
        nn.init.normal_(
            network.model.multi_modal_projector.linear_2.weight, std=1 / math.sqrt(layer.out_features)
        )


def _resume(network: LlavaOnevisionForConditionalGeneration, file: Path) -> float:
    state = load_file(file)
    done = float(state.pop("done_share"))
    network.load_state_dict(state, strict=False)
    network.tie_weights()
    return done


def _save(network: LlavaOnevisionForConditionalGeneration, done: float, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    state = {name: one.detach().cpu().contiguous() for name, one in network.state_dict().items()}
    del state["lm_head.weight"]  # tied
    part = file.with_suffix(".part")
    save_file({**state, "done_share": torch.tensor(done, dtype=torch.float64)}, part)
    part.replace(file)
