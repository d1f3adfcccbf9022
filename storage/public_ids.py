"""How a frame's row is named outside: ``<batch>-<offset>``, the batch's id, then the offset in its log."""

_MOST_DIGITS = 18  # of a signed 64-bit number, with room to spare


def public_id(batch_id: int, offset: int) -> str:
    """The id of a verdict or a dead letter; a batch has at most one of them at an offset."""
    return f"{batch_id}-{offset}"


def parse_id(text: str) -> tuple[int, int] | None:
    """(batch id, offset), or None if ``public_id`` cannot have made this."""
    batch_text, _, offset_text = text.partition("-")
    if not (_is_number(batch_text) and _is_number(offset_text)):
        return None
    return int(batch_text), int(offset_text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
