"""Text for a page, in which what a reader would not see, or be misled by, stands as it is spelled."""

from __future__ import annotations

import re

# But for the end of a line and the tab: controls, marks of direction, invisible joints, and halves of letters,
# as a file name that is not UTF-8 has them.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
_FROM_THE_RIGHT = re.compile(
    "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\U00010800-\U00010fff\U0001e800-\U0001efff]"
)


def visible(text: str) -> str:
    """``\\x1b`` for an escape, ``\\u202e`` for a mark that would turn the rest of the line around."""
    return _UNSEEN.sub(_spelled, text)


def _spelled(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def reads_from_the_right(text: str) -> bool:
    """Whether letters in it would pull their neighbours along."""
    return _FROM_THE_RIGHT.search(text) is not None
