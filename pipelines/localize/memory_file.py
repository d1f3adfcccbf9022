"""What a fitted expert remembers, as arrays and words; kept in one safetensors file."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import InputRefused

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MemoryTensors:
    """Arrays by name, and words by name. Networks are named by their digest among the words, not stored."""

    arrays: Mapping[str, Array]
    words: Mapping[str, str] = field(default_factory=dict)

    def under(self, prefix: str) -> Self:
        """The same, every name behind ``prefix/``: for a file that several experts share."""
        return type(self)(
            arrays={f"{prefix}/{name}": array for name, array in self.arrays.items()},
            words={f"{prefix}/{name}": word for name, word in self.words.items()},
        )

    def only(self, prefix: str) -> Self:
        """What `under` put behind ``prefix/``."""
        start = f"{prefix}/"
        return type(self)(
            arrays={name.removeprefix(start): a for name, a in self.arrays.items() if name.startswith(start)},
            words={name.removeprefix(start): w for name, w in self.words.items() if name.startswith(start)},
        )


def write_memory(path: Path, kept: MemoryTensors) -> None:
    from safetensors.numpy import save_file

    arrays = {name: np.ascontiguousarray(array) for name, array in kept.arrays.items()}
    save_file(arrays, path, dict(kept.words))


@contextmanager
def opened_memory(path: Path, what: str) -> Iterator[MemoryTensors]:
    """What `write_memory` wrote, for a reader who knows ``what`` it is: "a patch memory".

    Raises:
        InputRefused: The file is missing, or what it holds is not what the reader looks for: a
            ``KeyError``, ``TypeError`` or ``ValueError`` inside means that.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as stored:
            words = stored.metadata() or {}
            arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        yield MemoryTensors(arrays=arrays, words=words)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputRefused(f"{path} is not {what}: {error}") from error


def require_made_with(kept: MemoryTensors, digest: str) -> None:
    """Raises ``InputRefused`` where a memory holds features of other weights than these."""
    made_with = kept.words["encoder"]
    if made_with != digest:
        raise InputRefused(
            f"this memory was made with encoder {made_with[:12]}, this one is {digest[:12]}: "
            "fit the product again"
        )
