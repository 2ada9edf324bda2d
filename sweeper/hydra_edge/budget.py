"""Checks the sweeper's numbers, and makes the budget of a study of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sweeper.core.study import Budget
from sweeper.errors import UsageError

# Least and most of each; numpy's generators take seeds of 32 bits, and a resumed study's is larger by its trials.
_RANGES: Mapping[str, tuple[int, float]] = {
    "n_trials": (1, math.inf),
    "n_jobs": (1, math.inf),
    "timeout": (1, math.inf),
    "patience": (1, math.inf),
    "n_seeds": (0, math.inf),
    "finalists": (0, math.inf),
    "finalist_rounds": (3, math.inf),
    "seed": (0, 2**31 - 1),
    "max_failure_rate": (0, 1),
    "max_crashes_in_a_row": (1, math.inf),
}


def budget_of(options: Mapping[str, Any]) -> Budget:
    """Raises UsageError for a number out of its range."""
    for name, (least, most) in _RANGES.items():
        _check(name, options[name], least, most)
    if int(options["n_jobs"]) != 1:
        raise UsageError(
            f"hydra.sweeper.n_jobs={options['n_jobs']}: trials that run at once disturb each other's "
            "timing; type hydra.sweeper.n_jobs=1"
        )
    return Budget(
        trials=int(options["n_trials"]),
        seconds=options["timeout"],
        patience=options["patience"],
        crashes_in_a_row=int(options["max_crashes_in_a_row"]),
        crash_rate=float(options["max_failure_rate"]),
    )


def _check(name: str, given: Any, least: int, most: float) -> None:
    # Infinity is no number to count to, and nan is in no range.
    if given is None or (least <= given <= most and math.isfinite(given)):
        return
    allowed = f"at least {least}" if most == math.inf else f"from {least} to {most:.0f}"
    if not math.isfinite(given):
        allowed = f"a finite number, {allowed}"
    nearest = f"{most:.0f}" if most < given else f"{least}"
    given = f"{given:g}" if isinstance(given, float) else given
    raise UsageError(
        f"hydra.sweeper.{name}={given}: must be {allowed}; type hydra.sweeper.{name}={nearest}"
    )
