"""What a Triad model's files say of it: enough to name it in a recipe, without loading any of it.

Importing transformers and building the network take seconds, and adding most products needs neither.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from pipelines.errors import InputRefused
from pipelines.knowledge import ProductKnowledge
from pipelines.triad.prompts import PromptForm, prompt_version
from pipelines.triad.questions import TrainedProduct

BUNDLED = Path(__file__).parents[1] / "weights" / "triad"

WEIGHTS, CONFIG, TOKENIZER, MANIFEST = "model.safetensors", "config.json", "tokenizer.json", "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TriadManifest:
    """``trained`` is by product, ``stem`` as `stem_of` has it, ``digest`` SHA-256 over all four files."""

    trained: Mapping[str, TrainedProduct]
    stem: tuple[int, ...]
    digest: str
    prompt_version: str = prompt_version(PromptForm.COMPACT)

    def knows(self, knowledge: ProductKnowledge) -> bool:
        return is_trained_on(self.trained, knowledge)


def is_trained_on(trained: Mapping[str, TrainedProduct], knowledge: ProductKnowledge) -> bool:
    """Whether every defect and step of this knowledge was trained on, under this product's name."""
    product = trained.get(knowledge.product)
    return (
        product is not None
        and {defect.id for defect in knowledge.defects} <= set(product.defects)
        and {step.id for step in knowledge.steps} <= set(product.steps)
    )


def read_manifest(folder: Path = BUNDLED) -> TriadManifest:
    """Raises ``InputRefused`` when a file is missing."""
    files = [folder / name for name in (WEIGHTS, CONFIG, TOKENIZER, MANIFEST)]
    for file in files:
        if not file.is_file():
            raise InputRefused(
                f"{file} is missing: a Triad model has {WEIGHTS}, {CONFIG}, {TOKENIZER}, {MANIFEST}"
            )
    body = orjson.loads((folder / MANIFEST).read_bytes())
    trained = {
        name: TrainedProduct(defects=tuple(one["defects"]), steps=tuple(one["steps"]))
        for name, one in body["trained"].items()
    }
    return TriadManifest(trained=trained, stem=tuple(body["stem"]), digest=_digest(files))


def _digest(files: list[Path]) -> str:
    total = hashlib.sha256()
    for file in files:
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()
