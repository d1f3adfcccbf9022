"""Which models stand behind a profile's name."""

from dataclasses import dataclass

from pipelines.errors import InputRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """``view_px`` is the side of the base view and of every RoI view."""

    name: str
    view_px: int


TINY = Profile(name="tiny", view_px=128)


def profile(name: str) -> Profile:
    """Raises ``InputRefused`` for a profile we do not have."""
    if name == TINY.name:
        return TINY
    raise InputRefused(f"profile {name!r}: only {TINY.name!r} is built so far")
