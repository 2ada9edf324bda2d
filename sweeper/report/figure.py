"""A picture on disk, for those who show it; they need not load what draws."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """``title`` is not in the picture; ``alt`` says in words what is to be seen."""

    title: str
    alt: str
    png: Path
    svg: Path
