"""Writes a rank's result; imports nothing heavy, so that a failing import has one too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeper.core.files import write_json
from sweeper.core.folder import TrialFolder

RESULT_SCHEMA = 1
EXIT_NOT_MEASURED = 3  # tells the launcher to end the other ranks, which would wait for this one


def write_result(folder: TrialFolder, rank: int, result: Mapping[str, Any]) -> int:
    """Returns the exit code for the launcher."""
    write_json(folder.result(rank), {"schema_version": RESULT_SCHEMA, "rank": rank, **result})
    return 0 if result["kind"] == "measured" else EXIT_NOT_MEASURED
