"""The expert for no pictures at all: does a place look more like a good thing or like a broken one, in words?

After WinCLIP (Jeong et al. 2023, arXiv 2303.14814): a CLIP model's text half says what normal and defective
mean, as the mean over many sentences; its vision half looks at the picture through windows of several sizes,
and each window is closer to one meaning or the other. A patch gets the harmonic mean of the windows that
cover it, then of the sizes and of the picture as a whole: one window that finds it normal outweighs others.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipelines.errors import InputRefused, StageUnavailable
from pipelines.frame import Picture
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.clip_windows import ClipModel, windows
from pipelines.localize.memory_file import MemoryTensors, require_made_with
from pipelines.localize.patch_memory import delivered
from pipelines.localize.prompt_ensemble import prompts, thing_named


@dataclass(frozen=True, slots=True, kw_only=True)
class WinclipSettings:
    """Part of the digest."""

    windows: tuple[int, ...] = (2, 3)  # patches a side: the paper's small and middle size
    temperature: float = 0.07  # of the softmax over both meanings; CLIP's before training


DEFAULT_SETTINGS = WinclipSettings()


@dataclass(frozen=True, slots=True, eq=False)
class Winclip:
    """A `Localizer` over two meanings (2, P), of normal and of defective. Scores are from 0 to 1."""

    model: ClipModel
    meanings: Tensor
    settings: WinclipSettings = DEFAULT_SETTINGS
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        parts = hashlib.sha256(self.model.digest.encode())
        parts.update(json.dumps(asdict(self.settings), sort_keys=True).encode())
        parts.update(self.meanings.cpu().numpy().tobytes())
        object.__setattr__(self, "digest", parts.hexdigest())

    @classmethod
    def fit(cls, text: str, *, model: ClipModel, settings: WinclipSettings = DEFAULT_SETTINGS) -> Self:
        """``text`` names the product, such as "a photo of a ceramic tile" or "ceramic tile".

        Raises:
            InputRefused: The text names nothing, or the model has no tokenizer.
        """
        thing = thing_named(text)
        if not thing:
            raise InputRefused(f"text {text!r} names nothing: say what the frames show, as in 'ceramic tile'")
        return cls(model, torch.stack([model.meaning(sentences) for sentences in prompts(thing)]), settings)

    def localize(self, pictures: Sequence[Picture]) -> list[AnomalyMap]:
        """As `Localizer` asks. Lines the camera did not deliver score 0: nobody looked at them."""
        try:
            return [self._map(picture) for picture in pictures]
        except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
            raise StageUnavailable(f"CLIP on {self.model.device}: {error}") from error

    @torch.inference_mode()
    def _map(self, picture: Picture) -> AnomalyMap:
        whole = delivered(picture)
        tokens, rows, columns = self.model.embedded(whole)
        overall = self._defective(self.model.seen(tokens))
        sides = [side for side in self.settings.windows if side <= min(rows, columns)]
        inverses = [self._inverse_of(tokens, rows, columns, side) for side in sides]
        patches = 1 / torch.stack([(1 / overall).expand(rows, columns), *inverses]).mean(0)
        size = (whole.height_px, whole.width_px)
        on_pixels = functional.interpolate(patches[None, None], size=size, mode="bilinear")[0, 0]
        scores = np.zeros((picture.height_px, picture.width_px), np.float32)
        scores[: whole.height_px] = on_pixels.cpu().numpy()
        return AnomalyMap(scores)

    def _inverse_of(self, tokens: Tensor, rows: int, columns: int, side: int) -> Tensor:
        """(rows, columns): the mean of 1 / score over the windows that cover each patch."""
        places = windows(rows, columns, side).to(tokens.device)
        patches = tokens[0, 1:][places]
        class_token = tokens[:, :1].expand(len(places), -1, -1)
        inverse = 1 / self._defective(self.model.seen(torch.cat([class_token, patches], 1)))
        inverse = inverse.reshape(1, 1, rows - side + 1, columns - side + 1)
        ones = inverse.new_ones(1, 1, side, side)
        covered = functional.conv_transpose2d(torch.ones_like(inverse), ones)
        return (functional.conv_transpose2d(inverse, ones) / covered)[0, 0]

    def _defective(self, seen: Tensor) -> Tensor:
        """(B,) in 0..1: how much more like a defective thing than like a normal one."""
        return (seen @ self.meanings.T / self.settings.temperature).softmax(1)[:, 1]

    def tensors(self) -> MemoryTensors:
        """The meanings; the model is named by its digest and not among them."""
        settings = json.dumps(asdict(self.settings), sort_keys=True)
        return MemoryTensors(
            arrays={"meanings": self.meanings.cpu().numpy()},
            words={"encoder": self.model.digest, "settings": settings},
        )

    @classmethod
    def restored(cls, kept: MemoryTensors, model: ClipModel) -> Self:
        """What `tensors` gave.

        Raises:
            InputRefused: It was made with another model.
            KeyError, TypeError, ValueError: It holds no meanings.
        """
        require_made_with(kept, model.digest)
        settings = json.loads(kept.words["settings"])
        meanings = torch.from_numpy(kept.arrays["meanings"]).to(model.device)
        return cls(model, meanings, WinclipSettings(windows=tuple(settings.pop("windows")), **settings))
