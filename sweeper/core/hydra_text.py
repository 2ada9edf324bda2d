"""Text as the value of an override: Hydra's grammar takes what is in quotes as it is."""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[\w./:@+-]*[\w./-]", re.ASCII)
_INTERPOLATION = re.compile(r"(\\*)\$\{")
_NO_STRING = re.compile(r"null|true|false|yes|no|on|off|nan|inf|[\d.e_+-]+", re.IGNORECASE)


def override(name: str, text: str) -> str:
    """``hydra.sweep.dir='a, b'``: quoted where the text could be taken for anything else."""
    if _PLAIN.fullmatch(text) and not _NO_STRING.fullmatch(text):
        return f"{name}={text}"
    return f"{name}={quoted(without_interpolations(text))}"


def quoted(text: str) -> str:
    """As Hydra's grammar quotes: backslashes count before a quote alone."""

    def escaped(match: re.Match[str]) -> str:
        backslashes, quote = match.groups()
        return 2 * backslashes + (f"\\{quote}" if quote else "")

    inside = re.sub(r"(\\*)('|\Z)", escaped, text)
    return f"'{inside}'"


def without_interpolations(text: str) -> str:
    """With a backslash before each ``${`` that has none: OmegaConf leaves it alone then."""
    return _INTERPOLATION.sub(lambda m: m[0] if len(m[1]) % 2 else f"{2 * m[1]}\\${{", text)
