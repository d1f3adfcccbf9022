"""Payloads fetched from a store: only from below the prefixes, bounded, and absence told from outage."""

from pathlib import Path

import fsspec
import pytest

from pipelines.errors import FrameRejected, InputRefused, RejectReason, StageUnavailable
from workers.claim_check import ClaimCheck


@pytest.fixture
def store() -> ClaimCheck:
    files = fsspec.filesystem("memory")
    files.pipe(
        {"/frames/site/1.png": b"picture", "/frames/site/0.png": b"", "/frames-of-others/1.png": b"no"}
    )
    return ClaimCheck.of("memory://frames/site, memory://frames/other/")


def refusal(store: ClaimCheck, reference: str, most_bytes: int = 100) -> RejectReason:
    with pytest.raises(FrameRejected) as refused:
        store.fetch(reference, most_bytes)
    return refused.value.reason


def test_an_object_below_a_prefix_is_fetched(store: ClaimCheck) -> None:
    assert store.fetch("memory://frames/site/1.png", 7) == b"picture"
    assert store.fetch("memory://frames/site/0.png", 7) == b""


@pytest.mark.parametrize(
    "reference",
    [
        "memory://frames-of-others/1.png",
        "memory://frames/siteX/1.png",
        "memory://frames/site/../../frames-of-others/1.png",
        "memory://frames/site/./1.png",
        "memory://frames/site//1.png",
        "memory://frames/site/%2e%2e/1.png",
        "memory://frames/site/..%2f1.png",
        "MEMORY://frames/site/1.png",
        "memory://FRAMES/site/1.png",
        "memory://frames/site/1.png?versionId=2",
        "memory://frames/site/*.png",
        "memory://frames/site/1.png#x",
        "memory://frames/site/1.png\n",
        "memory://frames/site\\..\\1.png",
        "memory://user@frames/site/1.png",
        "memory://frames/site/@evil/1.png",
        "simplecache::memory://frames/site/1.png",
        "memory://frames/site/1.png::file:///etc/passwd",
        "/frames/site/1.png",
        "frames/site/1.png",
        "file:///etc/passwd",
        "http://169.254.169.254/latest",
        "memory://frames/site",
        "",
    ],
)
def test_whatever_else_is_refused(store: ClaimCheck, reference: str) -> None:
    assert refusal(store, reference) is RejectReason.DATAREF_REFUSED


def test_without_prefixes_every_reference_is_refused() -> None:
    assert refusal(ClaimCheck.of(""), "memory://frames/site/1.png") is RejectReason.DATAREF_REFUSED


def test_what_is_not_there_or_no_object_is_missing(store: ClaimCheck) -> None:
    fsspec.filesystem("memory").pipe("/frames/site/folder/1.png", b"x")

    assert refusal(store, "memory://frames/site/2.png") is RejectReason.DATAREF_MISSING
    assert refusal(store, "memory://frames/site/folder") is RejectReason.DATAREF_MISSING


def test_more_bytes_than_the_line_can_produce_are_not_fetched(store: ClaimCheck) -> None:
    assert refusal(store, "memory://frames/site/1.png", 6) is RejectReason.TOO_LARGE


@pytest.mark.parametrize("error", [PermissionError("denied"), ConnectionError("gone"), RuntimeError("odd")])
def test_a_store_that_does_not_answer_is_an_outage(
    store: ClaimCheck, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **options: object) -> bytes:
        raise error

    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.info", fail)

    with pytest.raises(StageUnavailable, match=r"1\.png"):
        store.fetch("memory://frames/site/1.png", 100)


def test_files_are_read_below_their_folder_only(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "1.png").write_bytes(b"picture")
    (tmp_path / "secret").write_bytes(b"secret")
    store = ClaimCheck.of(f"file://{tmp_path}/frames")

    assert store.fetch(f"file://{tmp_path}/frames/1.png", 100) == b"picture"
    assert refusal(store, f"{tmp_path}/frames/1.png") is RejectReason.DATAREF_REFUSED
    assert refusal(store, f"file://{tmp_path}/secret") is RejectReason.DATAREF_REFUSED


@pytest.mark.parametrize(
    ("prefixes", "said"),
    [
        ("frames/", "no plain URL"),
        ("s3://bucket/../other/", "no plain URL"),
        ("s3://user@bucket/", "no plain URL"),
        ("simplecache::s3://bucket/", "no plain URL"),
        ("https://cdn.example.org/frames/", "redirect"),
        ("nowhere://bucket/", "cannot be read here"),
    ],
)
def test_a_prefix_that_could_not_hold_is_refused_at_the_start(prefixes: str, said: str) -> None:
    with pytest.raises(InputRefused, match=said):
        ClaimCheck.of(prefixes)
