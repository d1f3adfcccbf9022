"""The published JSON Schemas (draft 2020-12) of what is told to the outside, one per kind of message."""

from functools import cache
from importlib.resources import files
from typing import Any

import orjson

from workers.messages import MessageKind


def schema_id(kind: MessageKind) -> str:
    """The URI that names a kind's schema; a message of another shape would get another one."""
    return f"https://triadline.org/schemas/{kind.value.replace('_', '-')}-1.json"


@cache
def message_schema(kind: MessageKind) -> dict[str, Any]:
    """The schema of a kind's body, whole: what it refers to is in it. Not to be changed."""
    schema: dict[str, Any] = orjson.loads(
        files("workers.schemas").joinpath(f"{kind.value}.schema.json").read_bytes()
    )
    if kind is MessageKind.AMENDMENT:
        rationale = files("pipelines.triad").joinpath("rationale.schema.json")
        schema["$defs"] = {"rationale": orjson.loads(rationale.read_bytes())}
    return schema
