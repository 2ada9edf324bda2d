"""Whether what is called fitting trains under the limit that is enforced, and what is not does not.

A share of the trials of ``benchmarks.memory``, by a model calibrated on ten others: each is run twice,
with the least memory limit that is called enough and the largest that is called too little (by P > 99 %
both). ``python -m benchmarks.memory_limits [TRIALS OF EACH MODEL]``
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.grids import MACHINE
from benchmarks.memory import CSV, MODELS, NUM_LEARNED, Case, cases
from benchmarks.setting import publish, run_alone
from sweeper.core.memory.calibration import Calibration, MemoryEstimate, fits, surely_too_large
from sweeper.core.outcome import Measured, OutOfMemory, kind_of, measurement_of
from sweeper.core.plan import specification
from sweeper.core.settings import with_values

_MIB = 2**20


def least_that_fits(estimate: MemoryEstimate) -> int:
    """In bytes, to the MiB."""
    return _first_mib(lambda mib: fits(estimate, mib * _MIB)) * _MIB


def most_that_is_too_little(estimate: MemoryEstimate) -> int:
    """Likewise."""
    return (_first_mib(lambda mib: not surely_too_large(estimate, mib * _MIB)) - 1) * _MIB


def _first_mib(is_enough: Callable[[int], bool]) -> int:
    """Of a test that fails below some number and holds from there on."""
    low, high = 0, MACHINE.host_memory_bytes // _MIB * 4
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def judged(group: list[Case], count: int) -> Iterator[tuple[Case, MemoryEstimate]]:
    """So many of those that were not learned from."""
    calibration = Calibration()
    for case in group[:NUM_LEARNED]:
        calibration.learn(case.settings, case.need, case.outcome)
    for case in group[NUM_LEARNED : NUM_LEARNED + count]:
        yield case, calibration.estimate(case.settings, case.need)


def tried(case: Case, limit_bytes: int, says: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What became of a case under a limit, and its environment."""
    settings = with_values(case.settings, {"hardware.memory_limit": str(limit_bytes)})
    outcome, _, environment = run_alone(specification(settings, MACHINE))
    measured = measurement_of(outcome)
    right = isinstance(outcome, Measured if says == "fits" else OutOfMemory)
    row = {
        "group": case.group,
        "unlimited_peak_bytes": case.peak_bytes,
        "limit_bytes": limit_bytes,
        "says": says,
        "outcome": kind_of(outcome),
        "peak_bytes": measured.peak_bytes if measured else None,
        "right": right,
    }
    return row, environment


def main(count: int) -> None:
    """Runs all, prints a line for each, writes results/published/memory_limits.json."""
    everyone = list(cases(CSV))
    rows, environment = [], {}
    for group in MODELS:
        mine = [case for case in everyone if case.group == group]
        for case, estimate in judged(mine, count):
            for says, limit in (
                ("fits", least_that_fits(estimate)),
                ("too little", most_that_is_too_little(estimate)),
            ):
                row, seen = tried(case, limit, says)
                rows.append(row)
                environment = environment or seen
                share = limit / case.peak_bytes
                print(
                    f"{group:<10} {limit / _MIB:6.0f} MiB ({share:.2f} of the peak) {says:<10} "
                    f"{row['outcome']:<14} {'' if row['right'] else 'WRONG'}",
                    flush=True,
                )
    counts = Counter((row["says"], row["right"]) for row in rows)
    print(
        json.dumps({f"{says}, {'right' if r else 'wrong'}": n for (says, r), n in counts.items()})
    )
    publish("memory_limits", {"trials": rows}, environment)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8)
