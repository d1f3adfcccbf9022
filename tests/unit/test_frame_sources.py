"""Folders and JSON lines become frames; what cannot be one is named and stops nothing."""

import base64
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from workers.frame_producer import OutgoingFrame
from workers.frame_sources import BadInput, folder_frames, json_frames, read_lines
from workers.simulated_frames import simulate

DATA = base64.b64encode(b"picture").decode()


def read_json(*lines: object, line: str | None = None) -> list[OutgoingFrame | BadInput]:
    texts = (each if isinstance(each, bytes) else orjson.dumps(each) for each in lines)
    return list(json_frames(texts, line=line, product="tile"))


def test_a_line_of_json_is_a_frame(tmp_path: Path) -> None:
    (tmp_path / "a.jpeg").write_bytes(b"bytes")
    given, named = read_json(
        {
            "data": DATA,
            "line": "line-3",
            "id": "1",
            "part": "p",
            "captured_at": "2026-03-01T12:00:00Z",
            "pixel_format": "Mono12p",
            "width_px": 4,
            "product": "board",
        },
        {"path": str(tmp_path / "a.jpeg")},
        line="line-1",
    )
    assert isinstance(given, OutgoingFrame)
    assert (given.line, given.payload) == ("line-3", b"picture")
    assert given.known == {
        "id": "1",
        "part": "p",
        "captured_at": datetime(2026, 3, 1, 12, tzinfo=UTC),
        "pixel_format": "Mono12p",
        "width_px": 4,
        "product": "board",
    }
    assert isinstance(named, OutgoingFrame)
    assert (named.line, named.payload) == ("line-1", b"bytes")
    assert named.known == {"product": "tile", "content_type": "image/jpeg"}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"{", "JSON"),
        (b'"text"', "object"),
        (b'\xff{"data": ""}', "JSON"),
        ({"line": "a"}, "path or data"),
        ({"line": "a", "data": DATA, "path": "x"}, "path or data"),
        ({"data": DATA}, "names no line"),
        ({"line": "", "data": DATA}, "line"),
        ({"line": "a", "data": "%%%"}, "base64"),
        ({"line": "a", "data": DATA, "colour": 1}, "colour"),
        ({"line": "a", "data": DATA, "width_px": "4"}, "width_px"),
        ({"line": "a", "data": DATA, "captured_at": "2026-03-01T12:00:00"}, "captured_at"),
        ({"line": "a", "path": "gone.png"}, "gone.png: No such file"),
        ({"line": "a", "path": "a\0b"}, "null"),
    ],
)
def test_a_bad_line_is_named_by_its_number_and_the_next_is_read(line: object, complaint: str) -> None:
    first, bad, last = read_json({"line": "a", "data": DATA}, line, {"line": "b", "data": DATA})

    assert isinstance(first, OutgoingFrame)
    assert isinstance(last, OutgoingFrame)
    assert isinstance(bad, BadInput)
    assert bad.name.startswith("line 2")
    assert complaint in f"{bad.name}: {bad.detail}"


def test_empty_lines_are_counted_and_are_no_frames() -> None:
    (bad,) = read_json(b"", b"  ", b"x")
    assert isinstance(bad, BadInput)
    assert bad.name == "line 3"


def test_a_folder_comes_again_and_a_vanished_file_is_named(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.png", "b.TIF", "c.bmp", "gone.png")]
    for file in files[:3]:
        file.write_bytes(file.name.encode())

    frames = list(folder_frames(files, line="line-3", product=None, rounds=2))

    assert len(frames) == 8
    sent = [each for each in frames if isinstance(each, OutgoingFrame)]
    assert [each.payload for each in sent] == [b"a.png", b"b.TIF", b"c.bmp"] * 2
    assert [each.known.get("content_type") for each in sent[:3]] == ["image/png", "image/tiff", None]
    bad = frames[3]
    assert isinstance(bad, BadInput)
    assert (Path(bad.name).name, bad.detail) == ("gone.png", "No such file or directory")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)


def test_lines_are_read_as_they_come_in_pieces(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    found = read_lines(reading, meanwhile=lambda: False, most_bytes=1000)
    os.write(writing, b"one\ntw")
    assert next(found) == b"one"
    os.write(writing, b"o\n\nthree")
    assert [next(found), next(found)] == [b"two", b""]
    os.close(writing)
    assert list(found) == [b"three"]


def test_of_a_line_without_end_only_its_beginning_is_kept(pipe: tuple[int, int]) -> None:
    reading, writing = pipe

    def write() -> None:
        os.write(writing, b"[" * 300_000 + b"]" * 1000 + b"\nnext\n")
        os.close(writing)

    writer = threading.Thread(target=write)
    writer.start()
    long, after = read_lines(reading, meanwhile=lambda: False, most_bytes=1000)
    writer.join()

    assert set(long) == set(b"[")
    assert len(long) < 300_000
    assert after == b"next"


def test_waiting_for_a_line_ends_when_asked_to(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    asked = iter([False, False, True])
    assert list(read_lines(reading, meanwhile=lambda: next(asked), most_bytes=10)) == []
    os.close(writing)


def test_simulated_lines_take_turns_and_their_truth_comes_with_them() -> None:
    drawn: list[tuple[int, int]] = []
    frames = list(
        simulate(lines=6, frames_per_line=3, drawn=10, progress=lambda done, of: drawn.append((done, of)))
    )

    assert [each.line for each in frames[:7]] == [f"line-{n}" for n in (1, 2, 3, 4, 5, 6, 1)]
    assert len(frames) == 18
    assert drawn[-1] == (10, 10)
    assert len({each.payload for each in frames}) == 10
    for each in frames:
        assert each.truth is not None
        assert each.truth["product"] == each.known["product"]
        assert each.truth["is_defective"] == bool(each.truth["marks"])
        assert each.payload.startswith(b"\x89PNG")
        assert each.known["is_simulated"]
    assert frames[0].known["product"] == frames[5].known["product"], "five products, six lines"
    assert frames[0].payload != frames[5].payload
