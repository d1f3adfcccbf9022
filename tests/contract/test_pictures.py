"""The picture store keeps what it is given, once, whole, and inside its folder."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import StageUnavailable
from storage.pictures import PictureStore
from tests.contract.stream import in_threads


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    return PictureStore(tmp_path / "pictures")


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("content", [b"", b"picture", b"\0" * 100_000])
def test_what_is_put_is_what_is_got(store: PictureStore, content: bytes) -> None:
    uri = store.put(content, "png")

    assert uri == f"picture:{hashlib.sha256(content).hexdigest()}.png"
    assert store.get(uri) == content
    assert store.path(uri).read_bytes() == content


def test_the_same_content_is_one_file(store: PictureStore, tmp_path: Path) -> None:
    def put() -> None:
        for _ in range(20):
            store.put(b"same", "jpg")

    in_threads(4, put)
    assert len(files_in(tmp_path)) == 1


def test_others_may_read_a_picture(store: PictureStore) -> None:
    assert store.path(store.put(b"x", "png")).stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("suffix", ["", ".png", "PNG", "../x", "a/b", "toolongsuffix", "p\0g", "png\n"])
def test_a_malformed_suffix_is_refused(store: PictureStore, suffix: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="picture URI"):
        store.put(b"x", suffix)
    assert files_in(tmp_path) == []


@given(uri=st.text() | st.from_regex(r"picture:[0-9a-f./]{60,70}\.[a-z./]+"))
def test_no_uri_leads_out_of_the_folder(uri: str) -> None:
    folder = Path("/pictures")
    try:
        path = PictureStore(folder).path(uri)
    except ValueError:
        return
    assert path.resolve().is_relative_to(folder)


def test_a_picture_that_is_not_there_is_missing_and_no_outage(store: PictureStore) -> None:
    with pytest.raises(FileNotFoundError):
        store.get(f"picture:{'0' * 64}.png")


def test_a_folder_that_cannot_be_written_is_an_outage(tmp_path: Path) -> None:
    (tmp_path / "pictures").write_bytes(b"a file where the folder should be")
    with pytest.raises(StageUnavailable, match="pictures"):
        PictureStore(tmp_path / "pictures").put(b"x", "png")


def test_a_write_that_fails_leaves_nothing(
    store: PictureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(StageUnavailable, match="No space left"):
        store.put(b"x", "png")
    assert files_in(tmp_path) == []
