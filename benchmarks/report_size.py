"""What a report costs: seconds to build it and megabytes of it, while its trials grow to a thousand.

The trials are made up, one in ten of them failed; table, figures, bundle and both reports are built as
``python -m sweeper report`` builds them. ``python -m benchmarks.report_size [ROUNDS]``
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.setting import publish
from sweeper.report.build import build_report
from tests.recorded import SPACE, crowd, recorded, write_journal

COUNTS = (10, 100, 1000)


def main(rounds: int) -> None:
    """Builds each report ``rounds`` times, prints a table, writes report_size.json."""
    runs: list[dict[str, float]] = []
    for count in COUNTS:
        trials = crowd(count)
        with tempfile.TemporaryDirectory() as temporary:
            folder = recorded(Path(temporary) / "s", trials, study_name="crowd", space=SPACE)
            write_journal(folder, trials, "crowd")
            for _ in range(rounds):
                start, busy = time.perf_counter(), time.process_time()
                build_report(folder)
                seconds, busy = time.perf_counter() - start, time.process_time() - busy
                run = {"trials": count, "seconds": seconds, "processor_seconds": busy}
                runs.append({**run, "html_bytes": folder.report_html.stat().st_size})
        found = [run for run in runs if run["trials"] == count]
        print(
            f"{count:>5} trials: {_median(found, 'seconds'):.1f} s, of a core "
            f"{_median(found, 'processor_seconds'):.1f} s; report.html "
            f"{_median(found, 'html_bytes') / 1e6:.2f} MB"
        )
    print(publish("report_size", {"runs": runs}, {}))


def _median(runs: Sequence[Mapping[str, float]], name: str) -> float:
    return statistics.median(run[name] for run in runs)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
