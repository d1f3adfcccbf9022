"""The nearest normal references of one product, by cosine similarity of embeddings.

Faiss is imported where it is first used, so that whoever only names these types does not need it installed.
"""

import hashlib
import os
import tempfile
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import InputRefused
from pipelines.frame import Picture

LINKS = 32
EF_CONSTRUCTION = 200
EF_SEARCH = 128  # recall@1 of 0.9985 and more on up to a million clustered embeddings, at 0.3 ms (our runs)
_NORM_TOLERANCE = 1e-3


class Embedder(Protocol):
    """Says in numbers what a whole picture looks like."""

    def embedding(self, pictures: Sequence[Picture]) -> NDArray[np.float32]:
        """One row per picture, (N, D) float32 of length 1; the same picture and weights give the same row."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """``similarity`` is the cosine, -1 to 1."""

    id: int
    similarity: float


class ReferenceIndex:
    """A frozen index over (N, D) embeddings; more references are another index with another digest.

    ``digest`` is the SHA-256 over ids and embeddings in order, not over the graph: building again from the
    same rows gives the same digest. Searching is safe from several threads.
    """

    def __init__(self, index: Any) -> None:
        """Wrap a Faiss ``IndexIDMap2`` over HNSW that nobody else changes; see ``build`` and ``load``."""
        import faiss

        self._index = index
        graph: Any = faiss.downcast_index(index.index)
        embeddings = graph.storage.reconstruct_n(0, index.ntotal) if index.ntotal else np.empty((0, index.d))
        self.ids: tuple[int, ...] = tuple(faiss.vector_to_array(index.id_map).tolist())
        self.digest = _digest(self.ids, np.asarray(embeddings, np.float32))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dimension(self) -> int:
        return int(self._index.d)

    @classmethod
    def build(cls, ids: Iterable[int], embeddings: NDArray[np.float32]) -> Self:
        """Index rows under ids of the caller's.

        Raises:
            ValueError: Not float32 (N, D), not finite, not of length 1, or ids that are not N different ones.
        """
        import faiss

        labels = np.fromiter(ids, np.int64)
        rows = np.ascontiguousarray(embeddings)
        _require_unit_rows(rows)
        if len(labels) != len(rows) or len(np.unique(labels)) != len(labels) or (labels < 0).any():
            raise ValueError(f"{len(rows)} embeddings need as many different ids from 0, got {len(labels)}")
        graph = faiss.IndexHNSWFlat(rows.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = EF_CONSTRUCTION
        index = faiss.IndexIDMap2(graph)
        if len(rows):
            index.add_with_ids(rows, labels)
        return cls(index)

    def nearest(
        self, embedding: NDArray[np.float32], *, k: int = 1, exclude: Collection[int] = ()
    ) -> list[Neighbour]:
        """At most ``k`` references, most similar first, none of them in ``exclude``.

        Raises:
            ValueError: The embedding (D,) is not one that this index could hold.
        """
        import faiss

        query = np.ascontiguousarray(embedding).reshape(1, -1)
        _require_unit_rows(query)
        if query.shape[1] != self.dimension:
            raise ValueError(f"the index has {self.dimension} dimensions, the embedding {query.shape[1]}")
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        without = np.fromiter(exclude, np.int64)
        # What is left out must not crowd out what is looked for.
        settings: dict[str, Any] = {"efSearch": max(EF_SEARCH, 2 * k) + len(without)}
        if len(without):
            settings["sel"] = faiss.IDSelectorNot(faiss.IDSelectorBatch(without))
        similarities, labels = self._index.search(query, k, params=_search_parameters(**settings))
        return [
            Neighbour(id=int(label), similarity=float(similarity))
            for similarity, label in zip(similarities[0], labels[0], strict=True)
            if label >= 0  # Faiss pads with -1 where it has fewer than k
        ]

    def save(self, file: Path) -> None:
        """Put the index there in one step: a reader finds the old file or the new one, never half of it."""
        import faiss

        handle, partial = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(faiss.serialize_index(self._index).tobytes())
                stream.flush()
                os.fsync(stream.fileno())
            Path(partial).replace(file)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise

    @classmethod
    def load(cls, file: Path) -> Self:
        """Raises ``InputRefused`` where the file is missing or is not an index of ours."""
        import faiss

        try:
            index = faiss.deserialize_index(np.fromfile(file, np.uint8))
        except (OSError, RuntimeError) as error:
            raise InputRefused(f"{file}: no reference index can be read there; build it again") from error
        is_ours = isinstance(index, faiss.IndexIDMap2) and isinstance(
            faiss.downcast_index(index.index), faiss.IndexHNSWFlat
        )
        if not is_ours or index.metric_type != faiss.METRIC_INNER_PRODUCT:
            raise InputRefused(f"{file}: another kind of index ({type(index).__name__}); build it again")
        return cls(index)


def _search_parameters(**settings: Any) -> Any:
    import faiss

    return faiss.SearchParametersHNSW(**settings)  # type: ignore[attr-defined]  # missing from its stubs


def _require_unit_rows(rows: NDArray[np.float32]) -> None:
    if rows.ndim != 2 or rows.dtype != np.float32 or rows.shape[1] == 0:
        raise ValueError(f"want float32 (N, D) embeddings, got {rows.dtype} {rows.shape}")
    lengths = np.linalg.norm(rows, axis=1)
    if not (
        np.abs(lengths - 1) <= _NORM_TOLERANCE
    ).all():  # false for NaN too, which Faiss would take silently
        raise ValueError("embeddings must be finite and of length 1")


def _digest(ids: Sequence[int], embeddings: NDArray[np.float32]) -> str:
    digest = hashlib.sha256(f"{embeddings.shape[0]}x{embeddings.shape[1]}".encode())
    digest.update(np.asarray(ids, "<i8").tobytes())
    digest.update(embeddings.astype("<f4").tobytes())
    return digest.hexdigest()
