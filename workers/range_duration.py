"""How long a range will take on this process, by how long the last ones took."""

from dataclasses import dataclass

_WEIGHT = 0.3  # of the newest range: the last three or so decide


@dataclass(slots=True)
class RangeDuration:
    """An exponentially weighted mean of seconds per frame; nothing is known before the first range."""

    seconds_per_frame: float | None = None

    def note(self, *, frames: int, seconds: float) -> None:
        latest = seconds / frames
        before = latest if self.seconds_per_frame is None else self.seconds_per_frame
        self.seconds_per_frame = before + _WEIGHT * (latest - before)

    def seconds_for(self, frames: int) -> float:
        """0 before the first range: what is not known to be late is tried."""
        return frames * (self.seconds_per_frame or 0.0)
