"""How an optional part of this package is installed."""

from __future__ import annotations


def install_line(extra: str) -> str:
    """What to type, of a checkout and of an installed package: pip takes the one that is installed."""
    return f"pip install 'deepspeed-sweeper[{extra}]'"
