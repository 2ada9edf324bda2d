"""How an optional part of this package is installed."""

from __future__ import annotations


def install_line(extra: str) -> str:
    """What to type in the checkout; the package is in no index."""
    return f"pip install -e '.[{extra}]'"
