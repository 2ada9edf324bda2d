"""Entry of one rank of a trial: reads the specification it is given, writes its own result."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sweeper.core.files import read_json
from sweeper.core.folder import TrialFolder
from sweeper.core.spec import TrialSpec
from sweeper.worker.ending import end_children, end_when_told, end_with_the_study, flush
from sweeper.worker.failures import failure
from sweeper.worker.limits import lift_memory_limit
from sweeper.worker.nvml import as_if_not_installed
from sweeper.worker.progress import Progress
from sweeper.worker.record import write_result


def main(spec_path: Path) -> int:
    """Trains as the specification says; returns the exit code for the launcher."""
    folder = TrialFolder(spec_path.resolve().parent)
    rank = int(os.environ.get("RANK", "0"))
    progress = Progress(folder.progress(rank))
    end_with_the_study()
    end_when_told(folder.result(rank), rank)
    try:
        progress.enter("import")
        spec = TrialSpec.from_json(read_json(folder.spec) or {})
        with as_if_not_installed():
            from deepspeed.accelerator import get_accelerator

            get_accelerator()
        if spec.script is None:
            from sweeper.worker.train import train

            result = train(spec, folder, progress)
        else:
            from sweeper.worker.script.run import run_script

            result = run_script(spec, folder, progress, rank)
    except BaseException as error:
        limited = lift_memory_limit()
        result = failure(error, phase=progress.phase, limited=limited)
    return write_result(folder, rank, result)


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    flush()
    end_children()
    # Everything is written. Skipping the interpreter's tear-down keeps a library that hangs or
    # aborts there from spoiling a finished trial.
    os._exit(code)
