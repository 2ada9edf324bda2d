"""Measures every legal point of the grids, pass after pass, each in an order of its own.

A row of the CSV is written as soon as it is measured, and a run goes on where the last one ended.
``python -m benchmarks.grid [NAME ...] [--passes=2]``
"""

from __future__ import annotations

import csv
import json
import random
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.grids import GRIDS, Grid
from benchmarks.setting import publish, run_alone
from sweeper.core.outcome import Crashed, Measured, Outcome, outcome_to_json
from sweeper.core.space import Point
from sweeper.core.spec import TrialSpec
from sweeper.terminal import summary


def main(names: list[str], passes: int) -> None:
    """Fills results/published/grid-NAME.csv and writes grid-NAME.json beside it."""
    for number in range(1, passes + 1):
        for name in names:
            _measure(GRIDS[name], number)


def _measure(grid: Grid, number: int) -> None:
    known = {
        json.dumps(dict(r.point), sort_keys=True) for r in grid.recorded() if r.number == number
    }
    points = list(_legal(grid))
    random.Random(number).shuffle(points)
    left = [p for p, _ in points if json.dumps(p, sort_keys=True) not in known]
    print(f"{grid.name}, pass {number}: {len(points)} legal points, {len(left)} to measure")
    grid.csv.parent.mkdir(parents=True, exist_ok=True)
    fields = [*grid.space.parameters, "pass", "tokens_per_second", "peak_bytes", "wall_seconds"]
    with grid.csv.open("a", newline="") as file:
        writer = csv.DictWriter(file, [*fields, "outcome"], lineterminator="\n")
        if file.tell() == 0:
            writer.writeheader()
        for point, spec in points:
            if point not in left:
                continue
            outcome, wall_seconds, environment = run_alone(spec)
            if isinstance(outcome, Crashed):
                raise SystemExit(f"{point} crashed: {outcome.reason}\n{outcome.evidence}")
            m = outcome.measurement if isinstance(outcome, Measured) else None
            writer.writerow(
                {
                    **point,
                    "pass": number,
                    "tokens_per_second": m and m.tokens_per_second,
                    "peak_bytes": m and m.peak_bytes,
                    "wall_seconds": round(wall_seconds, 3),
                    "outcome": json.dumps(_kept(outcome), separators=(",", ":")),
                }
            )
            file.flush()
            print(f"{' '.join(point.values()):<60} {summary(outcome)}", flush=True)
    if left:
        publish(
            f"grid-{grid.name}",
            {"fixed": grid.fixed, "legal_points": len(points), "passes": number},
            environment,
        )


def _kept(outcome: Outcome) -> dict[str, Any]:
    """Steps and peaks; each rank's ledger and losses would make the file ten times as long."""
    document = outcome_to_json(outcome)
    if isinstance(outcome, Measured):
        m = document["measurement"]
        for name in ("step_seconds", "warmup_step_seconds"):
            m[name] = [round(seconds, 6) for seconds in m[name]]
        m |= {"memory": [], "losses": []}
    return document


def _legal(grid: Grid) -> Iterator[tuple[Point, TrialSpec]]:
    """Each piece of work once: points whose difference does nothing are one."""
    keys = set()
    for point in grid.space.points():
        planned = grid.plan(point)
        if isinstance(planned.ready, TrialSpec) and planned.key not in keys:
            keys.add(planned.key)
            yield point, planned.ready


if __name__ == "__main__":
    given = [a for a in sys.argv[1:] if not a.startswith("--")]
    asked = [int(a.partition("=")[2]) for a in sys.argv[1:] if a.startswith("--passes=")]
    main(given or list(GRIDS), asked[-1] if asked else 2)
