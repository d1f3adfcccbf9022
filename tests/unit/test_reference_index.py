"""The nearest reference is the one that comparing with each would find."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.errors import InputRefused
from pipelines.retrieve.index import Neighbour, ReferenceIndex

faiss = pytest.importorskip("faiss")
Rows = NDArray[np.float32]


def unit(rows: NDArray[np.floating]) -> Rows:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float32)


def clustered(things: int, each: int, *, dimension: int = 64, seed: int = 3) -> Rows:
    """Some things seen several times each, as frames of a product are."""
    rng = np.random.default_rng(seed)
    centres = unit(rng.normal(size=(things, dimension)))
    return unit(np.repeat(centres, each, axis=0) + 0.035 * rng.normal(size=(things * each, dimension)))


def test_the_graph_finds_what_comparing_with_each_finds() -> None:
    rows = clustered(150, 21)
    known, asked = rows[np.arange(len(rows)) % 21 != 0], rows[::21]
    index = ReferenceIndex.build(range(len(known)), known)

    found = [index.nearest(query)[0].id for query in asked]

    assert np.mean(np.argmax(asked @ known.T, axis=1) == found) >= 0.99


def test_neighbours_come_nearest_first_with_their_cosine_and_the_ids_of_the_caller() -> None:
    rows = unit(np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [-1, 0, 0]], np.float32))
    index = ReferenceIndex.build([40, 10, 30, 20], rows)

    found = index.nearest(rows[0], k=3)

    assert [neighbour.id for neighbour in found] == [40, 10, 30]
    assert [neighbour.similarity for neighbour in found] == pytest.approx([1, 0.5**0.5, 0], abs=1e-6)
    assert index.ids == (40, 10, 30, 20)
    assert len(index.nearest(rows[0], k=9)) == 4


def test_excluded_references_are_never_answered() -> None:
    rows = clustered(20, 10)
    index = ReferenceIndex.build(range(200), rows)

    for query in range(0, 200, 7):
        exclude = set(range(query - 3, query + 4))
        found = index.nearest(rows[query], k=5, exclude=exclude)
        order = [int(place) for place in np.argsort(-(rows @ rows[query])) if int(place) not in exclude]
        assert [neighbour.id for neighbour in found] == order[:5]


@pytest.mark.parametrize("left", [0, 1, 3])
def test_all_but_a_few_may_be_excluded(left: int) -> None:
    rows = clustered(30, 10)
    index = ReferenceIndex.build(range(300), rows)

    found = index.nearest(rows[5], k=10, exclude=range(300 - left))

    assert {neighbour.id for neighbour in found} == set(range(300 - left, 300))


def test_an_empty_index_has_no_neighbours() -> None:
    index = ReferenceIndex.build([], np.empty((0, 8), np.float32))

    assert len(index) == 0
    assert index.dimension == 8
    assert index.nearest(unit(np.ones(8)), k=3) == []


def test_what_is_saved_is_loaded_and_the_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    rows = clustered(10, 10)
    file = tmp_path / "tile.index"
    file.write_bytes(b"what was there before")
    index = ReferenceIndex.build(range(100), rows)

    index.save(file)
    loaded = ReferenceIndex.load(file)

    assert (loaded.digest, loaded.ids, loaded.dimension) == (index.digest, index.ids, 64)
    assert loaded.nearest(rows[17], k=4, exclude=[18]) == index.nearest(rows[17], k=4, exclude=[18])
    assert list(tmp_path.iterdir()) == [file]


def test_a_failed_save_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tile.index"
    file.write_bytes(b"what was there before")
    index = ReferenceIndex.build([1], unit(np.ones((1, 4))))
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))

    with pytest.raises(OSError, match="disk full"):
        index.save(file)
    assert file.read_bytes() == b"what was there before"
    assert list(tmp_path.iterdir()) == [file]


def test_the_digest_is_over_contents_and_not_over_the_graph() -> None:
    rows = clustered(20, 10)
    index = ReferenceIndex.build(range(200), rows)
    nudged = rows.copy()
    nudged[3, 3] = np.nextafter(nudged[3, 3], np.float32(2))

    assert ReferenceIndex.build(range(200), rows).digest == index.digest
    assert ReferenceIndex.build(range(1, 201), rows).digest != index.digest
    assert ReferenceIndex.build(range(200), nudged).digest != index.digest
    assert ReferenceIndex.build(range(200), rows[::-1]).digest != index.digest


@pytest.mark.parametrize(
    ("ids", "rows"),
    [
        ([0, 1], np.array([[1, 0], [0, 2]], np.float32)),
        ([0, 1], np.array([[1, 0], [0, np.nan]], np.float32)),
        ([0, 1], np.array([[1, 0], [0, 0]], np.float32)),
        ([0, 1], np.eye(2)),
        ([0], np.array([1], np.float32)),
        ([0, 0], np.eye(2, dtype=np.float32)),
        ([0], np.eye(2, dtype=np.float32)),
        ([0, -1], np.eye(2, dtype=np.float32)),
    ],
    ids=["long", "nan", "zero", "float64", "flat", "same id", "too few ids", "negative id"],
)
def test_rows_that_would_spoil_the_index_are_refused(ids: list[int], rows: Rows) -> None:
    with pytest.raises(ValueError, match=r"embeddings|ids"):
        ReferenceIndex.build(ids, rows)


@pytest.mark.parametrize("query", [[1, 0, 0], [np.nan, 1], [2, 0]])
def test_a_query_must_be_an_embedding_of_the_same_kind(query: list[float]) -> None:
    index = ReferenceIndex.build([7], np.array([[1, 0]], np.float32))

    with pytest.raises(ValueError, match=r"dimensions|length 1"):
        index.nearest(np.array(query, np.float32))
    assert index.nearest(np.array([1, 0], np.float32)) == [Neighbour(id=7, similarity=1)]


def test_what_is_no_index_of_ours_is_refused_by_name(tmp_path: Path) -> None:
    flat = faiss.serialize_index(faiss.IndexFlatL2(4))
    for name, content in {"garbage": b"garbage", "empty": b"", "flat": bytes(flat)}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputRefused, match=name):
            ReferenceIndex.load(tmp_path / name)
    with pytest.raises(InputRefused, match="missing"):
        ReferenceIndex.load(tmp_path / "missing")
