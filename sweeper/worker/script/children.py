"""Tells of a script whose training is in processes that it starts itself, where nobody times it.

Read by every Python that a script starts: the standard library alone.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from sweeper.core.folder import TrialFolder
from sweeper.worker.record import EXIT_NOT_MEASURED, write_result
from sweeper.worker.script.when_imported import when_imported

# Which rank it was that started a process: as long as that has no engine of its own.
VARIABLE = "SWEEPER_SCRIPT_RANK"
# Workers that are started by two ranks may look for each other at one place.
PATIENCE_SECONDS = 30.0
_AT_ITS_START = Path(__file__).with_name("in_children")
_DEEPSPEED, _TORCH = "deepspeed", "torch.distributed.distributed_c10d"


def watch_children(folder: TrialFolder, rank: int, *, name: str, path: str) -> None:
    """In a rank, before its script runs: forks have what is patched here, others what their start patches."""
    os.environ[VARIABLE] = json.dumps(
        {
            **{"pid": os.getpid(), "rank": rank, "folder": str(folder.path.resolve())},
            **{"name": name, "path": path, "started": _started(os.getpid())},
        }
    )
    os.environ["PYTHONPATH"] = os.pathsep.join([str(_AT_ITS_START), os.environ["PYTHONPATH"]])
    for module, patch in _PATCHES.items():
        when_imported(module, functools.partial(patch, is_rank=True))


def watch_as_child() -> None:
    """In a Python that a script has started, or become by ``os.exec``."""
    if VARIABLE in os.environ:
        for module, patch in _PATCHES.items():
            when_imported(module, functools.partial(patch, is_rank=False))


def _patch_initialize(module: ModuleType, *, is_rank: bool) -> None:
    original, process = module.initialize, os.getpid()

    @functools.wraps(original)
    def initialize(*positional: Any, **named: Any) -> Any:
        if is_rank and os.getpid() == process:
            os.environ.pop(
                VARIABLE, None
            )  # it trains itself: what its children do is its own affair
        elif VARIABLE in os.environ:
            _tell("there it calls deepspeed.initialize")
        return original(*positional, **named)

    module.initialize = initialize


def _patch_meeting(module: ModuleType, *, is_rank: bool) -> None:
    original, process = module.init_process_group, os.getpid()

    @functools.wraps(original)
    def init_process_group(*positional: Any, **named: Any) -> Any:
        if (is_rank and os.getpid() == process) or VARIABLE not in os.environ:
            return original(*positional, **named)
        waits = f"there init_process_group still waits after {PATIENCE_SECONDS:g} s"
        watch = threading.Timer(PATIENCE_SECONDS, _tell, [waits])
        watch.daemon = True
        watch.start()
        try:
            return original(*positional, **named)
        except Exception as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            _tell(f"there init_process_group fails: {said}")
        finally:
            watch.cancel()

    module.init_process_group = init_process_group
    if (package := sys.modules.get("torch.distributed")) is not None and is_rank:
        package.init_process_group = init_process_group  # type: ignore[attr-defined]


_PATCHES = {_DEEPSPEED: _patch_initialize, _TORCH: _patch_meeting}


def _tell(what: str) -> NoReturn:
    """Writes it as the rank's result and ends the rank, which waits for its children, and this process."""
    rank = json.loads(os.environ[VARIABLE])
    reason = why_not_timed(rank["name"], what, _worker(rank["path"]), os.environ.get("WORLD_SIZE"))
    if rank["pid"] == os.getpid():
        reason = (
            f"{rank['name']} replaces its process by another program (os.exec), and {what}, where "
            "nothing can be timed; give +script= what it starts"
        )
    result = {"kind": "unsupported", "phase": "script", "reason": reason}
    write_result(TrialFolder(Path(rank["folder"])), rank["rank"], result)
    if rank["pid"] != os.getpid() and rank["started"] == _started(rank["pid"]):
        os.kill(rank["pid"], signal.SIGTERM)
    os._exit(EXIT_NOT_MEASURED)


def _started(pid: int) -> str | None:
    """When, in ticks; None where there is no such process. A number may be another process's by now."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def _worker(path: str) -> str | None:
    """What this process runs, where that is another file than the script."""
    main = getattr(sys.modules.get("__main__"), "__file__", None) or sys.argv[0]
    own = [os.path.abspath(p) for p in (main, sys.argv[0]) if p]
    return None if os.path.abspath(path) in own or not own[0].endswith(".py") else main


def why_not_timed(name: str, what: str, worker: str | None, world_size: str | None) -> str:
    """``worker`` is the file that the processes run, where it is not the script."""
    begun = f"{name} starts its training in processes of its own"
    if worker is not None:
        ranks = f" hardware.ranks={world_size}" if world_size else ""
        return (
            f"{begun}, which run {os.path.basename(worker)} ({what}): only ranks that a study starts "
            f"are timed; type +script={os.path.relpath(worker)}{ranks}, its arguments in script.args"
        )
    return (
        f"{begun} (torch.multiprocessing.spawn or the like; {what}): only ranks that a study starts "
        "are timed, as many as hardware.ranks says; let it train in its own process where RANK is in "
        "the environment, as torchrun and deepspeed have it, or give a script that does as +script="
    )
