"""Exports: what is written can be read back, and no spreadsheet runs it."""

import csv
import io
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from console.columns import COLUMNS, Kind, z_time
from console.export import (
    FORMULA_STARTS,
    ExportFormat,
    export_verdicts,
    format_of,
    safe_text,
    write_csv,
    write_json,
    write_parquet,
)
from console.tables import VERDICT_COLUMNS, verdict_rows
from pipelines.errors import InputRefused
from pipelines.regions import Region
from pipelines.verdict import Outcome
from storage.verdicts import StoredVerdict

AT = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
RATIONALE = {
    "steps": [],
    "conclusion": {"defect": "scratch", "process_step": "roll", "verdict": "defective", "confidence": 0.9},
}


def verdict(**changes: Any) -> StoredVerdict:
    region = Region(left=1, top=2, right=30, bottom=40, peak=1.5, p_value=0.01, area_px=99)
    fields: dict[str, Any] = {
        "id": "7-3",
        "batch_id": 7,
        "offset": 3,
        "run_id": 0,
        "log_id": 1,
        "partition": 0,
        "planned_at": AT,
        "decided_at": AT,
        "line": "line-3",
        "product": "brushed-metal",
        "event_source": "folder:in",
        "event_id": "e-1",
        "is_repeat": False,
        "outcome": Outcome.FAIL,
        "fast_outcome": Outcome.REVIEW,
        "score": -1.25,
        "p_value": 0.01,
        "regions": (region,),
        "note": None,
        "recipe": "ab" * 32,
        "sha256": "cd" * 32,
        "rationale": RATIONALE,
    }
    absent: dict[str, Any] = dict.fromkeys(StoredVerdict.__dataclass_fields__)
    return StoredVerdict(**(absent | fields | changes))


def csv_rows(*verdicts: StoredVerdict) -> list[dict[str, str]]:
    stream = io.BytesIO()
    assert write_csv(stream, verdicts) == len(verdicts)
    return list(csv.DictReader(io.StringIO(stream.getvalue().decode(), newline="")))


@pytest.mark.parametrize("start", FORMULA_STARTS)
def test_a_cell_that_starts_like_a_formula_is_defused(start: str) -> None:
    assert csv_rows(verdict(name=f"{start}cmd|' /C calc'!A0.png"))[0]["name"].startswith("'" + start)


def test_a_negative_number_stays_a_number() -> None:
    assert csv_rows(verdict())[0]["score"] == "-1.25"


@given(st.text())
def test_text_survives_a_csv_whatever_it_holds(text: str) -> None:
    assert csv_rows(verdict(name=text))[0]["name"] == safe_text(text)


def test_a_csv_is_rfc_4180_with_z_times_and_empty_cells_for_what_is_not_known() -> None:
    stream = io.BytesIO()
    write_csv(stream, [verdict(name='a "b", c\nd')])
    header, rest = stream.getvalue().decode().split("\r\n", 1)
    row = csv_rows(verdict())[0]
    assert header.split(",")[:3] == ["id", "line", "product"]
    assert '"a ""b"", c\nd"' in rest
    assert rest.endswith("\r\n")
    assert row["decided_at"] == "2026-01-02T03:04:05.000006Z"
    assert row["captured_at"] == row["lot"] == ""
    assert row["is_repeat"] == "false"
    assert (row["defect"], row["process_step"], row["confidence"]) == ("scratch", "roll", "0.9")
    assert orjson.loads(row["regions"])[0]["right"] == 30


def test_a_local_time_is_written_in_utc() -> None:
    assert z_time(AT.astimezone(timezone(timedelta(hours=9)))) == "2026-01-02T03:04:05.000006Z"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_json_has_the_shape_of_the_api(count: int) -> None:
    stream = io.BytesIO()
    assert write_json(stream, [verdict()] * count) == count
    body = orjson.loads(stream.getvalue())
    assert body["next"] is None
    assert len(body["items"]) == count
    for item in body["items"]:
        assert item["rationale"] == RATIONALE
        assert item["regions"][0] == {
            "left": 1, "top": 2, "right": 30, "bottom": 40, "peak": 1.5, "p_value": 0.01, "area_px": 99,
        }  # fmt: skip
        assert "case" not in item


def test_parquet_is_typed_and_carries_its_schema_version(tmp_path: Path) -> None:
    file = tmp_path / "verdicts.parquet"
    assert export_verdicts(file, ExportFormat.PARQUET, [verdict(), verdict(lot="L1", rationale=None)]) == 2
    table = parquet.read_table(file)
    schema = table.schema
    assert schema.metadata[b"triadline_schema_version"] == b"1"
    assert schema.field("decided_at").type == pa.timestamp("us", tz="UTC")
    assert pa.types.is_dictionary(schema.field("line").type)
    assert pa.types.is_dictionary(schema.field("lot").type)
    assert pa.types.is_dictionary(schema.field("product").type)
    first, second = table.to_pylist()
    assert first["decided_at"] == AT
    assert first["score"] == -1.25
    assert first["regions"][0]["area_px"] == 99
    assert second["lot"] == "L1"
    assert second["defect"] is None


def test_parquet_without_a_verdict_still_has_its_columns() -> None:
    stream = io.BytesIO()
    assert write_parquet(stream, []) == 0
    assert parquet.read_table(io.BytesIO(stream.getvalue())).column_names == [each.name for each in COLUMNS]


def test_every_column_reads_a_value_of_its_kind() -> None:
    kinds = {
        Kind.INTEGER: int,
        Kind.NUMBER: float,
        Kind.BOOLEAN: bool,
        Kind.TIME: datetime,
        Kind.REGIONS: tuple,
    }
    for column in COLUMNS:
        value = column.read(verdict(captured_at=AT, received_at=AT, lot="L1"))
        assert value is None or isinstance(value, kinds.get(column.kind, str)), column.name


def test_a_failed_export_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    file = tmp_path / "verdicts.csv"
    file.write_text("old")

    def broken() -> Any:
        yield verdict()
        raise RuntimeError("the database went away")

    with pytest.raises(RuntimeError):
        export_verdicts(file, ExportFormat.CSV, broken())
    assert [each.name for each in tmp_path.iterdir()] == ["verdicts.csv"]
    assert file.read_text() == "old"


def test_a_file_that_cannot_be_written_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match=r"no-folder/x\.csv"):
        export_verdicts(tmp_path / "no-folder" / "x.csv", ExportFormat.CSV, [])


def test_the_file_name_says_the_format() -> None:
    assert format_of(Path("a/verdicts.PARQUET")) is ExportFormat.PARQUET
    with pytest.raises(InputRefused, match="--format"):
        format_of(Path("verdicts.xlsx"))


def test_a_table_row_tells_the_outcome_without_colour_and_what_the_gate_was_told() -> None:
    (row,) = verdict_rows([verdict()], zone=ZoneInfo("Europe/Berlin"))
    cells = dict(zip(VERDICT_COLUMNS, row, strict=True))
    assert cells["outcome"] == "■ fail (was review)"
    assert cells["evidence"] == "0.990"
    assert cells["name"] == "e-1"
    assert cells["decided"] == "2026-01-02 04:04:05 CET"
