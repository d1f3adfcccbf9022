"""Column types that mean the same on SQLite and Postgres, and refuse or clean what one would not take."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Enum, Float, Integer, Text, bindparam
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine
from typing_extensions import override

BigKey = BigInteger().with_variant(Integer(), "sqlite")  # SQLite numbers rows only in a plain INTEGER key


def clean_text(text: str) -> str:
    """Text that both databases take: NUL and lone surrogates become visible escapes, all else stays."""
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def clean_json(value: object, path: str = "$") -> Any:
    """A copy that both databases take; tuples become lists, texts are cleaned as by ``clean_text``.

    Raises:
        ValueError: A number is NaN or infinite, or a value has no JSON form; the message names the place.
    """
    match value:
        case None | bool() | int():
            return value
        case float():
            if not math.isfinite(value):
                raise ValueError(f"{path} is {value}: JSON holds finite numbers only")
            return value
        case str():
            return clean_text(str(value))
        case Mapping():
            return {clean_text(str(key)): clean_json(item, f"{path}.{key}") for key, item in value.items()}
        case list() | tuple():
            return [clean_json(item, f"{path}[{index}]") for index, item in enumerate(value)]
    raise ValueError(f"{path} is a {type(value).__name__}, which has no JSON form")


class CleanText(TypeDecorator[str]):
    """Text from outside: a camera's envelope or a file's name may hold anything."""

    impl = Text
    cache_ok = True

    @override
    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else clean_text(value)


class Json(TypeDecorator[Any]):
    """JSON, binary on Postgres. ``None`` is SQL NULL."""

    impl = JSON
    cache_ok = True

    @override
    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        kind = JSONB if dialect.name == "postgresql" else JSON
        return dialect.type_descriptor(kind(none_as_null=True))

    @override
    def process_bind_param(self, value: Any | None, dialect: Dialect) -> Any:
        return None if value is None else clean_json(value)


class ExactJson(Json):
    """JSON whose text is kept as written (JSONB turns -0.0 into 0), for bodies that are hashed."""

    cache_ok = True

    @override
    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(JSON(none_as_null=True))


class UtcTime(TypeDecorator[datetime]):
    """An aware time, kept and given back in UTC; a naive one is refused (whose noon is it?)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    @override
    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value.isoformat()} has no time zone")
        return value.astimezone(UTC)

    @override
    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def choice(kind: type[StrEnum], *, name: str | None = None) -> Enum:
    """A closed list of words; with ``name`` the schema checks it too, so a new word needs a migration."""
    return Enum(
        kind,
        name=name,
        native_enum=False,
        length=32,
        validate_strings=True,
        create_constraint=name is not None,
        values_callable=lambda members: [member.value for member in members],
    )


class DatabaseClock(FunctionElement[datetime]):
    """The database's clock at this statement, not at the transaction's start, plus some seconds."""

    name = "database_clock"
    type = UtcTime()
    inherit_cache = True


def clock(ahead: timedelta = timedelta(0)) -> DatabaseClock:
    """SQL for the one clock that decides, ``ahead`` of now. SQLite's ticks in milliseconds."""
    return DatabaseClock(bindparam(None, ahead.total_seconds(), type_=Float()))


@compiles(DatabaseClock, "postgresql")
def _postgres_clock(element: DatabaseClock, compiler: SQLCompiler, **options: Any) -> str:
    ahead = compiler.process(element.clauses, **options)
    return f"(clock_timestamp() + make_interval(secs => {ahead}))"


@compiles(DatabaseClock, "sqlite")
def _sqlite_clock(element: DatabaseClock, compiler: SQLCompiler, **options: Any) -> str:
    # Six digits after the point, as bound times have: SQLite compares times as text.
    ahead = compiler.process(element.clauses, **options)
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', printf('%+.3f seconds', {ahead}))"
