"""Everything that can change a verdict, frozen and hashed; where things are is not in here."""

import hashlib
from dataclasses import dataclass, field, fields
from enum import StrEnum

import orjson
from pydantic import TypeAdapter

from pipelines.localize.calibration import Calibration
from pipelines.localize.frame_score import ScoreRule
from pipelines.localize.grouped_calibration import GroupedCalibration
from pipelines.regions import RegionRule, ViewRule


class AmendPolicy(StrEnum):
    """When the reasoner may change a stored verdict. Its words never do: its A/B answer may."""

    NEVER = "never"
    GREY_ZONE = "grey_zone"  # only a review becomes pass or fail


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityFrame:
    """A frame that the localizer scored when it was fitted; whoever loads it must find the same score."""

    picture_uri: str  # of its payload, beside the memory
    score: float  # raw


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalizerPart:
    """Which expert, and the digests that decide its scores.

    ``backbone`` is the digest of the features that a person named; none means the bundled ones.
    """

    name: str  # one of `pipelines.localize.experts.EXPERTS`, or several joined by +
    digest: str  # of weights, memory and settings together
    memory_uri: str = field(metadata={"is_place": True})  # where the fitted memory is kept: not hashed
    backbone: str | None = None
    backbone_folder: str | None = field(default=None, metadata={"is_place": True})
    parity: tuple[ParityFrame, ...] = field(default=(), metadata={"is_place": True})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferencePart:
    """Which normal frames the reasoner compares with."""

    digest: str  # of the index's contents
    generation: int = field(metadata={"is_place": True})  # where the database keeps them: not hashed


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """p-value thresholds: at most ``fail_p`` fails, at most ``review_p`` is the grey zone, above passes.

    ``review_p`` is the false-reject rate asked for, because a review counts as a reject. A provisional
    recipe (too few normals for any rate) never fails a frame: it says pass or review.
    """

    fail_p: float
    review_p: float
    is_provisional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonRule:
    """Which frames get a rationale, from which model, and what its answer may do."""

    model_digest: str
    prompt_version: str
    outcomes: tuple[str, ...] = ("fail", "review")
    pass_sample_rate: float = 0.02  # of passes, chosen by the frame's digest: the same on every run
    amend: AmendPolicy = AmendPolicy.GREY_ZONE
    shows_views: bool = True  # EG-RoI tokens on; off is for comparison


# Of a field that came after the first recipes: what has none is written as it always was, and keeps its hash.
_LATER = {"is_later": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one product is inspected. Frozen: a changed threshold is a new recipe with a new hash.

    ``calibration`` is of whole frames. ``groups``, where there are any, decide instead of it.
    """

    product: str
    profile: str
    localizer: LocalizerPart
    calibration: Calibration
    decision: Decision
    regions: RegionRule
    views: ViewRule
    references: ReferencePart | None = None
    knowledge_revision: int | None = None
    reason: ReasonRule | None = None
    groups: GroupedCalibration | None = field(default=None, metadata=_LATER)
    score_rule: ScoreRule | None = field(default=None, metadata=_LATER)  # None: the worst pixel

    @property
    def hash(self) -> str:
        """SHA-256 in hex over canonical JSON of all fields but places."""
        body = recipe_to_json(self)
        body |= {"localizer": _hashed(self.localizer), "references": _hashed(self.references)}
        return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _hashed(part: LocalizerPart | ReferencePart | None) -> dict[str, object] | None:
    """A part without its places: a recipe means the same wherever its files lie.

    A field without a value is left out: recipes from before there was such a field keep their hash.
    """
    if part is None:
        return None
    values = {f.name: getattr(part, f.name) for f in fields(part) if not f.metadata.get("is_place")}
    return {name: value for name, value in values.items() if value is not None}


_ADAPTER, _ADAPTER_OF_RULE = TypeAdapter(Recipe), TypeAdapter(RegionRule)


def recipe_to_json(recipe: Recipe) -> dict[str, object]:
    """As it is stored and hashed. What came later and has no value is left out: old hashes stay."""
    body: dict[str, object] = _ADAPTER.dump_python(recipe, mode="json")
    regions = _ADAPTER_OF_RULE.dump_python(recipe.regions, mode="json")
    body["regions"] = _without_later(recipe.regions, regions)
    return _without_later(recipe, body)


def _without_later(part: Recipe | RegionRule, body: dict[str, object]) -> dict[str, object]:
    absent = [f.name for f in fields(part) if f.metadata.get("is_later") and body[f.name] is None]
    return {name: value for name, value in body.items() if name not in absent}


def recipe_from_json(body: object) -> Recipe:
    """Raises ``pydantic.ValidationError`` on a body that no version of ours wrote."""
    return _ADAPTER.validate_python(body, strict=False)
