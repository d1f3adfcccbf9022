"""A verdict as columns: one list that the CSV, the Parquet file and their documentation share.

The order is part of the format: new columns go to the end, and a changed meaning is a new schema version.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pipelines.regions import Region
from storage.verdicts import StoredVerdict

SCHEMA_VERSION = "1"


class Kind(StrEnum):
    """What a column holds, whatever the file format calls it."""

    TEXT = "text"
    LABEL = "label"  # text with few different values
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    TIME = "time"  # aware, UTC
    REGIONS = "regions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    name: str
    kind: Kind
    meaning: str
    read: Callable[[StoredVerdict], Any]


def _own(name: str, kind: Kind, meaning: str) -> Column:
    return Column(name=name, kind=kind, meaning=meaning, read=lambda verdict: getattr(verdict, name))


def _concluded(name: str, kind: Kind, meaning: str, field: str) -> Column:
    return Column(name=name, kind=kind, meaning=meaning, read=lambda verdict: conclusion(verdict).get(field))


COLUMNS = (
    _own("id", Kind.TEXT, "the verdict's public id"),
    _own("line", Kind.LABEL, "the line the frame came from"),
    _own("product", Kind.LABEL, "the product it was inspected as"),
    _own("lot", Kind.LABEL, "the lot, if the envelope names it"),
    _own("part", Kind.TEXT, "the part, if the envelope names it"),
    _own("name", Kind.TEXT, "the file's name, for frames from a folder"),
    _own("outcome", Kind.LABEL, "pass, fail or review, after amendments and reviews"),
    _own("fast_outcome", Kind.LABEL, "what the reject gate was told"),
    _own("p_value", Kind.NUMBER, "conformal p-value of the frame, small is worst"),
    Column(
        name="evidence", kind=Kind.NUMBER, meaning="1 - p_value", read=lambda verdict: 1 - verdict.p_value
    ),
    _own("score", Kind.NUMBER, "raw score, higher is worse, comparable within a recipe only"),
    _own(
        "regions",
        Kind.REGIONS,
        "tight half-open boxes on the frame, worst first; of a web, with the ids of defects",
    ),
    _concluded("defect", Kind.LABEL, "defect id, normal or unknown, by the rationale", "defect"),
    _concluded("process_step", Kind.LABEL, "process step id, by the rationale", "process_step"),
    _concluded("confidence", Kind.NUMBER, "the reasoner's own, 0 to 1", "confidence"),
    _own("note", Kind.TEXT, "why, where the score alone does not say"),
    _own("captured_at", Kind.TIME, "exposure, by the camera's clock"),
    _own("received_at", Kind.TIME, "when a worker read the frame"),
    _own("decided_at", Kind.TIME, "when the fast verdict was given"),
    _own("expires_at", Kind.TIME, "the reject gate's deadline"),
    _own("amended_at", Kind.TIME, "when the latest rationale was stored"),
    _own("reviewed_at", Kind.TIME, "when a person last reviewed it"),
    _own("reviewer", Kind.LABEL, "who did"),
    _own("recipe", Kind.LABEL, "the recipe's hash"),
    _own("model_digest", Kind.LABEL, "of the model that wrote the rationale"),
    _own("reference_id", Kind.TEXT, "the nearest normal frame"),
    _own("sha256", Kind.TEXT, "of the frame's bytes"),
    _own("event_source", Kind.LABEL, "CloudEvents source"),
    _own("event_id", Kind.TEXT, "CloudEvents id"),
    _own("is_repeat", Kind.BOOLEAN, "whether an earlier verdict has the same event"),
    _own("run_id", Kind.INTEGER, "0 is the live stream, others are replays"),
    _own("log_id", Kind.INTEGER, "which log"),
    _own("partition", Kind.INTEGER, "which partition of it"),
    _own("offset", Kind.INTEGER, "which offset"),
    _own("planned_at", Kind.TIME, "when its range was planned"),
    _own("is_simulated", Kind.BOOLEAN, "whether the envelope says that no camera saw the frame"),
    _own("golden_part", Kind.LABEL, "which golden part it is; leave those out of figures of production"),
)


def conclusion(verdict: StoredVerdict) -> Mapping[str, Any]:
    """What the rationale concludes; empty where there is none."""
    found = (verdict.rationale or {}).get("conclusion")
    return found if isinstance(found, Mapping) else {}


def z_time(at: datetime) -> str:
    """ISO 8601 in UTC with a Z and microseconds, so that text sorts as time does."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def verdict_item(verdict: StoredVerdict) -> dict[str, object]:
    """The verdict as JSON, with its rationale whole."""
    item = {column.name: _plain(column.read(verdict)) for column in COLUMNS}
    return item | {
        "rationale": verdict.rationale,
        "picture_uri": verdict.picture_uri,
        "heat_map_uri": verdict.heat_map_uri,
        "thumbnail_uri": verdict.thumbnail_uri,
    }


def region_items(verdict: StoredVerdict) -> list[dict[str, object]]:
    return [_region(region) for region in verdict.regions]


def _region(region: Region) -> dict[str, object]:
    """Ids of defects are there for webs alone."""
    return {name: value for name, value in asdict(region).items() if value is not None}


def _plain(value: Any) -> object:
    if isinstance(value, datetime):
        return z_time(value)
    if isinstance(value, tuple):
        return [_region(each) for each in value]
    return value
