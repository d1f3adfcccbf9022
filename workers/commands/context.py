"""What every command starts from: the flags before its name, and the settings they lead to."""

from dataclasses import dataclass
from pathlib import Path

import typer

from workers.log_lines import log_to_stderr
from workers.settings import Loaded, load_settings


class Interrupted(BaseException):
    """Somebody asked this process to end. Not an error: ``except Exception`` lets it through."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """Flags given before the command's name; ``None`` where not given."""

    home: Path | None = None
    log_level: str | None = None

    def load(self) -> Loaded:
        return load_settings(flags={"home": self.home, "log_level": self.log_level})


def loaded_settings(context: typer.Context) -> Loaded:
    """Raises ``InputRefused`` when a variable, a flag or the file is wrong."""
    flags = context.find_object(Flags)
    assert flags is not None, "the callback of `triad` puts them there"
    loaded = flags.load()
    log_to_stderr(loaded.settings.log_level)
    return loaded
