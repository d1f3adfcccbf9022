"""What every expert localizer offers; the contract suite is tests/contract/test_localizer.py."""

from collections.abc import Sequence
from typing import Protocol

from pipelines.frame import Picture
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.memory_file import MemoryTensors


class Localizer(Protocol):
    """Turns pictures of one product into anomaly maps."""

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over all that decides the scores: weights, memory and settings."""
        ...

    def localize(self, pictures: Sequence[Picture]) -> list[AnomalyMap]:
        """One map for each picture, in order, on the picture's own grid; deterministic.

        Sizes may differ within one call, and a picture's map does not depend on its neighbours in it.

        Raises:
            FrameRejected: a picture is smaller than one patch.
            StageUnavailable: the device was lost or is out of memory.
        """
        ...


class FittedLocalizer(Localizer, Protocol):
    """A localizer that can be kept; `pipelines.localize.experts` restores it by its name."""

    def tensors(self) -> MemoryTensors:
        """All that restoring it takes, but for the networks it stands on."""
        ...
