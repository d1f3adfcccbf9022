"""Filling slots by logits: the model may only say one of the options it is offered, word piece by word piece.

All rows of a batch take their turns together over one key-value cache. Rows differ in what they have said
so far, so each turn is padded on the left and the padding is masked for good.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import DynamicCache, LlavaOnevisionForConditionalGeneration

END_OF_CHOICE = ";"  # so that an option may begin with another one


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """``probability`` is among the options that were offered, 0..1; 1 where only one was."""

    index: int
    probability: float


@dataclass(slots=True)
class _Turn:
    """One row's way through its options: the paths still open, and how far it went."""

    paths: dict[int, list[int]]
    said: int = 0
    probability: float = 1.0


def words_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def option_ids(tokenizer: Tokenizer, option: str) -> list[int]:
    """An option as the model says it. Training writes its transcripts with this too."""
    return words_ids(tokenizer, option) + words_ids(tokenizer, END_OF_CHOICE)


class Dialogue:
    """A batch of prompts and what has been said since; greedy, so the same cases give the same choices."""

    def __init__(
        self,
        network: LlavaOnevisionForConditionalGeneration,
        tokenizer: Tokenizer,
        prompts: Sequence[Sequence[int]],
        pictures: Sequence[Tensor],
    ) -> None:
        """``pictures`` holds one (image tokens, width) per row, for the image placeholders in its prompt."""
        self._network = network
        self._tokenizer = tokenizer
        self._device = network.device
        self._pending = [list(ids) for ids in prompts]
        self._pictures: Sequence[Tensor] | None = pictures
        self._cache = DynamicCache(config=network.config.text_config)
        self._mask = torch.zeros(len(prompts), 0, dtype=torch.long, device=self._device)
        self._logits = torch.zeros(0)

    def choose(self, leads: Sequence[str], options: Sequence[Sequence[str]]) -> list[Choice | None]:
        """For each row: say its lead, then choose; a row without options says nothing."""
        turns: list[_Turn | None] = []
        for row, (lead, offered) in enumerate(zip(leads, options, strict=True)):
            if not offered:
                turns.append(None)
                continue
            self._pending[row] += words_ids(self._tokenizer, lead)
            paths = {place: option_ids(self._tokenizer, option) for place, option in enumerate(offered)}
            turns.append(_Turn(paths=paths))
        while waiting := [
            row for row, turn in enumerate(turns) if turn is not None and self._advance(row, turn)
        ]:
            self._forward()
            for row in waiting:
                turn = turns[row]
                assert turn is not None
                self._pick(row, turn)
        return [
            None if turn is None else Choice(index=next(iter(turn.paths)), probability=turn.probability)
            for turn in turns
        ]

    def _advance(self, row: int, turn: _Turn) -> bool:
        """Say what is no choice any more; true if the model has to choose next."""
        while True:
            following = {path[turn.said] for path in turn.paths.values() if len(path) > turn.said}
            if len(following) != 1:
                return bool(following)
            self._pending[row].append(following.pop())
            turn.said += 1

    def _pick(self, row: int, turn: _Turn) -> None:
        allowed = sorted({path[turn.said] for path in turn.paths.values()})
        shares = torch.softmax(self._logits[row, allowed].double(), dim=0)
        best = int(shares.argmax())
        turn.probability *= float(shares[best])
        turn.paths = {place: path for place, path in turn.paths.items() if path[turn.said] == allowed[best]}
        self._pending[row].append(allowed[best])
        turn.said += 1

    @torch.inference_mode()
    def _forward(self) -> None:
        """Let the model read all that is pending, and keep the logits after each row's last word."""
        rows, longest = len(self._pending), max(len(ids) for ids in self._pending)
        ids = torch.zeros(rows, longest, dtype=torch.long)
        real = torch.zeros(rows, longest, dtype=torch.long)
        for row, words in enumerate(self._pending):
            if words:
                ids[row, -len(words) :] = torch.tensor(words)
                real[row, -len(words) :] = 1
        ids, real = ids.to(self._device), real.to(self._device)
        before = self._mask.sum(dim=1, keepdim=True)
        positions = (before + real.cumsum(dim=1) - 1).clamp(min=0)
        self._mask = torch.cat([self._mask, real], dim=1)
        logits = self._network(
            inputs_embeds=self._embedded(ids),
            attention_mask=self._mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        spoke = real[:, -1:].bool()
        self._logits = logits if len(self._logits) == 0 else torch.where(spoke, logits, self._logits)
        self._pending = [[] for _ in self._pending]

    def _embedded(self, ids: Tensor) -> Tensor:
        words: Tensor = self._network.get_input_embeddings()(ids)
        if self._pictures is None:
            return words
        places = ids == self._network.config.image_token_index
        seen = torch.cat(list(self._pictures)).to(words)
        self._pictures = None
        return words.masked_scatter(places[..., None], seen)
