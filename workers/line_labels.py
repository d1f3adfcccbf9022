"""Line ids as metric labels: anybody may invent a line, so only so many get a label of their own."""

import threading

MOST_LINES = 100  # Prometheus' own advice: above a hundred values of a label, look for another way
OTHER = "other"


class LineLabels:
    """The first hundred lines that proved to be lines; every other one is ``other``. Any thread may ask."""

    def __init__(self, most: int = MOST_LINES) -> None:
        self._most = most
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def of(self, line: str) -> str:
        """The label of a line that has proved to be one: it was declared, or a frame of it has a verdict."""
        with self._lock:
            if line and line not in self._known and len(self._known) < self._most:
                self._known.add(line)
        return self.if_known(line)

    def knows(self, line: str) -> bool:
        return line in self._known

    def if_known(self, line: str | None) -> str:
        """The label of what may be any text: a dead letter's key takes no place from a line."""
        return line if line is not None and line in self._known else OTHER
