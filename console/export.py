"""Verdicts as files: JSON, CSV that a spreadsheet opens safely, and typed Parquet.

A file appears whole or not at all. Every function gives the number of rows it wrote.
"""

import csv
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import orjson

from console.columns import COLUMNS, SCHEMA_VERSION, Kind, region_items, verdict_item, z_time
from pipelines.errors import InputRefused
from storage.verdicts import StoredVerdict

if TYPE_CHECKING:
    import pyarrow as pa

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\0")  # a spreadsheet would run such a cell
ROWS_AT_ONCE = 10_000


class ExportFormat(StrEnum):
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


def format_of(path: Path) -> ExportFormat:
    """The format that a file's name asks for.

    Raises:
        InputRefused: The name ends in something else.
    """
    try:
        return ExportFormat(path.suffix.removeprefix(".").lower())
    except ValueError as error:
        raise InputRefused(
            f"{path}: name a file that ends in .json, .csv or .parquet, or give --format"
        ) from error


def export_verdicts(path: Path, format_: ExportFormat, verdicts: Iterable[StoredVerdict]) -> int:
    """Write all of them to one file, replacing what is there.

    Raises:
        InputRefused: The file cannot be written there.
    """
    write = {
        ExportFormat.JSON: write_json,
        ExportFormat.CSV: write_csv,
        ExportFormat.PARQUET: write_parquet,
    }[format_]
    with _whole_file(path) as stream:
        return write(stream, verdicts)


def write_json(stream: IO[bytes], verdicts: Iterable[StoredVerdict]) -> int:
    """``{"items": [...], "next": null}``, as the API gives it, one verdict per line."""
    count = 0
    stream.write(b'{"items": [')
    for count, verdict in enumerate(verdicts, start=1):
        stream.write(b"\n" if count == 1 else b",\n")
        stream.write(orjson.dumps(verdict_item(verdict)))
    stream.write(b'\n], "next": null}\n')
    return count


def write_csv(stream: IO[bytes], verdicts: Iterable[StoredVerdict]) -> int:
    """RFC 4180 in UTF-8: a header row, CRLF, an empty cell for what is not known."""
    count = 0
    text = _TextOver(stream)
    rows = csv.writer(text)
    rows.writerow([column.name for column in COLUMNS])
    for verdict in verdicts:
        count += 1
        rows.writerow([_cell(column.kind, column.read(verdict), verdict) for column in COLUMNS])
    return count


def write_parquet(stream: IO[bytes], verdicts: Iterable[StoredVerdict]) -> int:
    """Typed columns; labels are dictionary-encoded, times are timestamp[us, UTC]."""
    import pyarrow as pa  # slow, and only exports need it
    from pyarrow import parquet

    schema = _schema()
    labels = [column.name for column in COLUMNS if column.kind is Kind.LABEL]
    count = 0
    remaining = iter(verdicts)
    with parquet.ParquetWriter(stream, schema, use_dictionary=labels, compression="zstd") as file:
        while rows := list(islice(remaining, ROWS_AT_ONCE)):
            columns = {
                column.name: [
                    region_items(row) if column.kind is Kind.REGIONS else column.read(row) for row in rows
                ]
                for column in COLUMNS
            }
            file.write_table(pa.Table.from_pydict(columns, schema=schema))
            count += len(rows)
    return count


def _schema() -> "pa.Schema":
    import pyarrow as pa

    box = [(side, pa.int32()) for side in ("left", "top", "right", "bottom")]
    rest = [("peak", pa.float64()), ("p_value", pa.float64()), ("area_px", pa.int64())]
    of_webs = [("defect_id", pa.string()), ("runs_on", pa.string())]
    types = {
        Kind.TEXT: pa.string(),
        Kind.LABEL: pa.dictionary(pa.int32(), pa.string()),
        Kind.INTEGER: pa.int64(),
        Kind.NUMBER: pa.float64(),
        Kind.BOOLEAN: pa.bool_(),
        Kind.TIME: pa.timestamp("us", tz="UTC"),
        Kind.REGIONS: pa.list_(pa.struct([*box, *rest, *of_webs])),
    }
    fields = [
        pa.field(column.name, types[column.kind], metadata={"meaning": column.meaning}) for column in COLUMNS
    ]
    return pa.schema(fields, metadata={"triadline_schema_version": SCHEMA_VERSION})


def safe_text(text: str) -> str:
    """The text as a cell that no spreadsheet takes for a formula (OWASP ASVS 1.2.10)."""
    return "'" + text if text.startswith(FORMULA_STARTS) else text


def _cell(kind: Kind, value: Any, verdict: StoredVerdict) -> str | int | float:
    match kind, value:
        case _, None:
            return ""
        case Kind.REGIONS, _:
            return orjson.dumps(region_items(verdict)).decode()
        case Kind.BOOLEAN, bool():
            return "true" if value else "false"
        case ((Kind.INTEGER | Kind.NUMBER), (int() | float())):
            return value
        case Kind.TIME, datetime():
            return z_time(value)
        case _:
            return safe_text(str(value))


class _TextOver:
    """Just enough of a text stream for `csv`: it leaves the bytes' stream open."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(text.encode())


@contextmanager
def _whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file beside ``path`` that takes its place when all went well."""
    try:
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InputRefused(f"{path}: cannot be written: {error.strerror}; name another file") from error
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
        Path(beside).chmod(0o644)
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
