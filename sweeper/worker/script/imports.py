"""Lets a script import what it would import by itself: the sweeper's own modules come last."""

from __future__ import annotations

import os
import sys

from sweeper.places import import_root


def import_from(first: str) -> None:
    """``first`` is what Python puts before all others: the script's folder, or a module's own starting place."""
    ours = str(import_root())
    sys.path[:] = [first, *(place for place in sys.path if place != ours), ours]
    theirs = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p not in ("", ours)]
    os.environ["PYTHONPATH"] = os.pathsep.join([*theirs, ours])
