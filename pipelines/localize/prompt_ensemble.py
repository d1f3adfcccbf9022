"""What normal and defective things are called: states times ways to say that one sees them.

WinCLIP's compositional prompt ensemble (Jeong et al. 2023, arXiv 2303.14814, section 4.1): one prompt leans
on its very words, the mean of many says what they have in common. Templates are ours, in the paper's groups.
"""

import re

NORMAL_STATES = (
    "{}",
    "flawless {}",
    "perfect {}",
    "unblemished {}",
    "{} without flaw",
    "{} without defect",
    "{} without damage",
)
DEFECTIVE_STATES = ("damaged {}", "{} with flaw", "{} with defect", "{} with damage")

_LOOKS = ("", "bright ", "dark ", "close-up ", "cropped ", "blurry ", "low resolution ", "good ")
_SIZES = ("small ", "large ")
_PURPOSES = ("for visual inspection", "for anomaly detection")
_PHOTO_OF = re.compile(r"^\s*(?:an?\s+|the\s+)?(?:photo|picture|image)s?\s+of(?:\s+|$)", re.IGNORECASE)
_ARTICLE = re.compile(r"^(?:an?|the|some)\s+", re.IGNORECASE)


def thing_named(text: str) -> str:
    """The thing that a text like "a photo of a ceramic tile" names: "ceramic tile"."""
    thing = _ARTICLE.sub("", _PHOTO_OF.sub("", text.strip())).strip(" .")
    return re.sub(r"\s+", " ", thing)


def prompts(thing: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sentences about a normal and about a defective ``thing``."""
    return _sentences(NORMAL_STATES, thing), _sentences(DEFECTIVE_STATES, thing)


def _sentences(states: tuple[str, ...], thing: str) -> tuple[str, ...]:
    templates = [
        *(f"a {look}photo of {article} {{}}." for look in _LOOKS for article in ("a", "the")),
        *(f"a photo of {article} {size}{{}}." for size in _SIZES for article in ("a", "the")),
        *(f"a photo of {article} {{}} {purpose}." for purpose in _PURPOSES for article in ("a", "the")),
    ]
    return tuple(template.format(state.format(thing)) for state in states for template in templates)
