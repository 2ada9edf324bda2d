"""The picture: finalists."""

from __future__ import annotations

from sweeper.report.figures.frame import Facts, Picture


def picture(facts: Facts) -> Picture | None:
    """None where there is nothing to draw."""
    return None
