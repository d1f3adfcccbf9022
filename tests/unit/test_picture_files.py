"""Which files are frames."""

import os
from pathlib import Path

import pytest

from pipelines.errors import InputRefused
from workers.picture_files import digest_of, find_pictures


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")


def test_pictures_by_name_are_frames_and_everything_else_is_counted(tmp_path: Path) -> None:
    touch(tmp_path / "b" / "two.JPG", tmp_path / "a.png")
    touch(tmp_path / "notes.txt", tmp_path / "b" / "._two.jpg")

    found = find_pictures([tmp_path])

    assert found.pictures == (tmp_path / "a.png", tmp_path / "b" / "two.JPG")
    assert found.ignored == 2


def test_a_path_given_twice_or_inside_another_enters_once(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "a.png")

    found = find_pictures([tmp_path / "in" / "a.png", tmp_path, tmp_path / "in" / ".." / "in"])

    assert found.pictures == (tmp_path / "in" / "a.png",)


def test_links_that_lead_in_a_circle_end(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "again").symlink_to(tmp_path, target_is_directory=True)

    assert find_pictures([tmp_path]).pictures == (tmp_path / "in" / "a.png",)


def test_a_pipe_named_like_a_picture_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")

    assert find_pictures([tmp_path]).ignored == 1


def test_a_dangling_link_named_like_a_picture_is_a_frame(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")

    assert find_pictures([tmp_path]).pictures == (tmp_path / "a.png",)
    assert digest_of(tmp_path / "a.png") is None


def test_a_path_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="nowhere: no such file or folder"):
        find_pictures([tmp_path / "nowhere"])
