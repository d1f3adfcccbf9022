"""CoT-M: a rationale is ordered steps, each tied to evidence (our definition; Triad published none)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from itertools import pairwise

import orjson
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter

from pipelines.errors import AnswerRejected

VERSION = 1


class StepKind(StrEnum):
    """The five steps, in this order (design, section 9)."""

    PERCEIVE = "perceive"
    COMPARE = "compare"
    TRACE = "trace"
    EXPLAIN = "explain"
    CONCLUDE = "conclude"


class CitationKind(StrEnum):
    REGION = "region"  # ref: the region's index on the frame
    VIEW = "view"  # ref: the view's index
    REFERENCE = "reference"  # ref: the reference's id
    KNOWLEDGE = "knowledge"  # ref: PRODUCT@REVISION#KIND/ID, KIND one of normal, step, defect, tolerance
    SCORE = "score"  # ref: the frame's p-value, written out


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    kind: CitationKind
    ref: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RationaleStep:
    """One step in words. Without a citation it is unsupported, and shown as such."""

    kind: StepKind
    text: str
    cites: tuple[Citation, ...]

    @property
    def is_supported(self) -> bool:
        return bool(self.cites)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """``defect`` is a defect id of the product's knowledge, "normal" or "unknown"."""

    defect: str
    process_step: str | None
    verdict: str  # "defective" or "normal"
    confidence: float  # 0..1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rationale:
    steps: tuple[RationaleStep, ...]
    conclusion: Conclusion

    @property
    def unsupported(self) -> int:
        """How many steps cite nothing."""
        return sum(not step.is_supported for step in self.steps)


def rationale_to_json(rationale: Rationale) -> dict[str, object]:
    """The stored form; ``rationale.schema.json`` describes it."""
    body: dict[str, object] = _rationales().dump_python(rationale, mode="json")
    return {"version": VERSION, **body}


def rationale_from_json(body: object) -> Rationale:
    """Read the stored form, or what a large model wrote in it.

    Raises:
        AnswerRejected: The body breaks the schema, or its steps are out of order. The message names the
            first place that is wrong.
    """
    error = next(iter(_validator().iter_errors(body)), None)
    if error is not None:
        place = "/".join(str(part) for part in error.absolute_path) or "the whole"
        raise AnswerRejected(f"rationale at {place}: {error.message[:200]}")
    assert isinstance(body, Mapping)
    rationale = _rationales().validate_python({name: body[name] for name in ("steps", "conclusion")})
    check_order(rationale)
    return rationale


def rationale_from_text(text: str) -> Rationale:
    """Read JSON text; raises ``AnswerRejected`` as ``rationale_from_json`` does."""
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise AnswerRejected(f"rationale is no JSON: {error}") from error
    return rationale_from_json(body)


def check_order(rationale: Rationale) -> None:
    """Raises ``AnswerRejected`` unless all five kinds are there, in order; only perceive may repeat."""
    order = list(StepKind)
    kinds = [step.kind for step in rationale.steps]
    missing = [kind.value for kind in order if kind not in kinds]
    if missing:
        raise AnswerRejected(f"rationale has no {missing[0]} step")
    for before, after in pairwise(kinds):
        is_repeated = before is after and before is not StepKind.PERCEIVE
        if is_repeated or order.index(before) > order.index(after):
            raise AnswerRejected(f"rationale has {after.value} after {before.value}")


def prose(rationale: Rationale) -> str:
    """The steps as sentences to read; unsupported ones say so."""
    marked = (step.text if step.is_supported else f"{step.text} [unsupported]" for step in rationale.steps)
    return " ".join(marked)


def knowledge_ref(product: str, revision: int, kind: str, entry: str) -> str:
    """How a citation names a knowledge entry; the normal description's entry is called ``description``."""
    return f"{product}@{revision}#{kind}/{entry}"


@cache
def _validator() -> Draft202012Validator:
    file = files("pipelines.triad").joinpath("rationale.schema.json")
    return Draft202012Validator(orjson.loads(file.read_bytes()))


@cache
def _rationales() -> TypeAdapter[Rationale]:
    return TypeAdapter(Rationale)
