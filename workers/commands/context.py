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

    def load(self, **more: object) -> Loaded:
        return load_settings(flags={"home": self.home, "log_level": self.log_level, **more})


def loaded_settings(context: typer.Context, **flags: object) -> Loaded:
    """Also with a command's own ``flags``, None where not given.

    Raises ``InputRefused`` when a variable, a flag or the file is wrong.
    """
    given = context.find_object(Flags)
    assert given is not None, "the callback of `triad` puts them there"
    loaded = given.load(**flags)
    log_to_stderr(loaded.settings.log_level, loaded.settings.log_format, context.info_name or "triad")
    return loaded
