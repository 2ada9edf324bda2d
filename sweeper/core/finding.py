"""One thing that ``doctor`` looked at: what is there, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# A failure keeps the default study from running; a warning does not, but something else may not work.
Status = Literal["ok", "warning", "failure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """``advice`` says what to do and what to type; empty where all is well."""

    name: str
    found: str
    status: Status = "ok"
    advice: str = ""


def ok(name: str, found: str) -> Finding:
    """All is well."""
    return Finding(name=name, found=found)


def warning(name: str, found: str, advice: str) -> Finding:
    """Something will not work; the default study will."""
    return Finding(name=name, found=found, status="warning", advice=advice)


def failure(name: str, found: str, advice: str) -> Finding:
    """The default study cannot run."""
    return Finding(name=name, found=found, status="failure", advice=advice)
