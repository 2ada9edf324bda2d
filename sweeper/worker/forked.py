"""A rank in a fork of the warm process: takes on its own environment and logs, then trains."""

from __future__ import annotations

import os
import runpy
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeper.core.files import write_json
from sweeper.core.folder import TrialFolder
from sweeper.worker.ending import end_children, flush


def run(parameters: Mapping[str, Any]) -> int:
    """Returns the rank's exit code."""
    os.setsid()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    os.environ.clear()
    os.environ.update(parameters["environment"])
    _redirect(1, parameters["stdout"])
    _redirect(2, parameters["stderr"])
    if parameters["worker"][0] != "--module":  # a script that stands in for the worker
        sys.argv = [parameters["worker"][0], parameters["spec"]]
        runpy.run_path(parameters["worker"][0], run_name="__main__")
        return 0
    import torch

    if torch.cuda._is_in_bad_fork():
        rank = int(os.environ["RANK"])
        write_json(TrialFolder(Path(parameters["spec"]).parent).result(rank), {"kind": "bad-fork"})
        return 4
    torch.set_num_threads(parameters["threads"])
    from sweeper.worker.__main__ import main

    return main(Path(parameters["spec"]))


def _redirect(descriptor: int, path: str) -> None:
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(opened, descriptor)
    os.close(opened)


if __name__ == "__main__":
    code: int | None = 1
    try:
        code = run(globals()["PARAMETERS"])
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        flush()
        end_children()
        os._exit(code or 0)
