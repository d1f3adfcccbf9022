"""Holding what is told to the outside to the schemas that are published for it."""

from datetime import datetime

from jsonschema import Draft202012Validator, FormatChecker

from workers.message_schemas import message_schema
from workers.messages import MessageKind

_FORMATS = FormatChecker(())


@_FORMATS.checks("date-time", raises=ValueError)
def _has_zone(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


def require_valid(kind: str, body: object) -> None:
    """Raises ``jsonschema.ValidationError`` unless the body is as published."""
    schema = message_schema(MessageKind(kind))
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema, format_checker=_FORMATS).validate(body)
