"""The ranks of a trial in a fork of the warm process: each a fork of it again, with its own environment and logs."""

from __future__ import annotations

import contextlib
import ctypes
import os
import runpy
import signal
import sys
import traceback
from collections.abc import Mapping
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sweeper.core.folder import TrialFolder
from sweeper.worker.ending import flush
from sweeper.worker.keeper import as_before, keep
from sweeper.worker.record import write_result

_SPOILT = {
    "kind": "error",
    "phase": "import",
    "reason": "CUDA was initialised in what ranks are forked from, and no fork of it can use a device",
    "evidence": "",
    "is_spoilt": True,
}
_NOT_INITIALIZED = 3  # CUDA_ERROR_NOT_INITIALIZED: of a driver that was initialised in a parent


def keep_ranks(line: Connection, ranks: list[Mapping[str, Any]]) -> None:
    """Tells ``line`` the process of each rank, then its exit code as it ends; ends with the last of all they started.

    The study says first that it knows of this process: one that nobody waits for starts nothing.
    """
    os.setsid()
    try:
        line.recv()
    except EOFError:
        return
    numbers: dict[int, int] = {}

    def tell(*said: Any) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more
            line.send(said)

    def start() -> list[int]:
        for number, parameters in enumerate(ranks):
            numbers[_fork(parameters, line)] = number
        tell("started", list(numbers))
        return list(numbers)

    keep(start, line.fileno(), ended=lambda process, code: tell("ended", numbers[process], code))


def _fork(parameters: Mapping[str, Any], line: Connection) -> int:
    process = os.fork()
    if process:
        return process
    code: int | None = 1
    try:
        as_before()
        line.close()
        _own_resource_tracker()
        code = run(parameters)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        flush()
        os._exit(code or 0)


def _own_resource_tracker() -> None:
    """Not the study's, which would remove what this rank leaves in shared memory when the study ends."""
    tracker: Any = resource_tracker._resource_tracker  # type: ignore[attr-defined]
    tracker._fd = tracker._pid = None


def run(parameters: Mapping[str, Any]) -> int:
    """Returns the rank's exit code."""
    os.setsid()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    os.environ.clear()
    os.environ.update(parameters["environment"])
    _redirect(1, parameters["stdout"])
    _redirect(2, parameters["stderr"])
    if os.environ.get("DS_ACCELERATOR") == "cuda" and _is_spoilt():
        return write_result(
            TrialFolder(Path(parameters["spec"]).parent), int(os.environ["RANK"]), _SPOILT
        )
    if parameters["worker"][0] != "--module":  # a script that stands in for the worker
        sys.argv = [parameters["worker"][0], parameters["spec"]]
        runpy.run_path(parameters["worker"][0], run_name="__main__")
        return 0
    import torch

    torch.set_num_threads(parameters["threads"])
    from sweeper.worker.__main__ import main

    return main(Path(parameters["spec"]))


def _is_spoilt() -> bool:
    """Whether CUDA was initialised before the fork, by torch or by whatever was loaded with it.

    torch knows of itself alone; the driver says of any other that this process has none of it (Triton 3.8's
    pre-releases asked it at import, triton#9578).
    """
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda._is_in_bad_fork():
        return True
    try:
        return int(ctypes.CDLL("libcuda.so.1").cuInit(0)) == _NOT_INITIALIZED
    except (OSError, AttributeError):  # no driver: torch will say so
        return False


def _redirect(descriptor: int, path: str) -> None:
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(opened, descriptor)
    os.close(opened)


if __name__ == "__main__":
    try:
        keep_ranks(globals()["LINE"], globals()["RANKS"])
    finally:
        os._exit(0)
