"""DeepSpeed's compiled ops: built once before any trial, and freed of locks that nobody holds."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from sweeper.errors import EnvironmentUnfit
from sweeper.places import extensions_dir, import_root
from sweeper.run.processes import ProcessGroup

# DeepSpeed's builder -> the folder and library that its build leaves.
LIBRARIES = {
    "ShareMemCommBuilder": "deepspeed_shm_comm",
    "CPUAdamBuilder": "cpu_adam",
    "CPULionBuilder": "cpu_lion",
    "FusedAdamBuilder": "fused_adam",
    "FusedLionBuilder": "fused_lion",
    "AsyncIOBuilder": "async_io",
}
SAY_EVERY_SECONDS = 10.0

Say = Callable[[str], None]


def ensure_ops(builders: Sequence[str], *, accelerator: str, say: Say) -> None:
    """Builds what is missing of ``builders``, one after the other, telling ``say`` how far it is.

    Raises EnvironmentUnfit with the end of the compiler's output where a build fails.
    """
    folder = extensions_dir()
    missing = [name for name in builders if not is_built(folder, name)]
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with _only_builder(folder, say):
        for number, name in enumerate(missing, start=1):
            if not is_built(folder, name):  # another sweeper may have built it while we waited
                clear_stale_locks(folder)
                _build(folder, name, accelerator, say, f"{number}/{len(missing)}")


def are_built(builders: Sequence[str]) -> bool:
    """Whether a trial that needs these ops can start at once."""
    return all(is_built(extensions_dir(), name) for name in builders)


def build_path() -> str:
    """Where a build looks for compiler and ninja; pip puts the latter beside the interpreter."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def clear_stale_locks(folder: Path) -> list[Path]:
    """Removes the locks that nobody holds; returns them."""
    stale = stale_locks(folder)
    for path in stale:
        path.unlink(missing_ok=True)
    return stale


def stale_locks(folder: Path) -> list[Path]:
    """The ``lock`` files of builds whose builder is dead.

    torch's builder keeps its lock file open for as long as it lives and the kernel closes it when
    it dies: a lock that no process has open is waited on for ever.
    """
    locks = [path.resolve() for path in folder.glob("*/lock")]
    if not locks:
        return []
    held = _open_files(locks)
    return [path for path in locks if path not in held]


def _open_files(paths: Sequence[Path]) -> set[Path]:
    wanted, held = {str(path) for path in paths}, set()
    for process in psutil.process_iter():
        try:
            held |= {file.path for file in process.open_files() if file.path in wanted}
        except (psutil.Error, OSError):
            continue
    return {Path(path) for path in held}


def is_built(folder: Path, builder: str) -> bool:
    """Whether the op lies in ``folder``, and was not left half done."""
    name = LIBRARIES[builder]
    built = (folder / name / f"{name}.so", folder / name / "installed")
    return any(path.is_file() for path in built) and not (folder / name / "lock").exists()


@contextmanager
def _only_builder(folder: Path, say: Say) -> Iterator[None]:
    """One sweeper builds at a time; the kernel frees this lock when its holder dies."""
    with open(folder / ".building", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another sweeper is building DeepSpeed's ops; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(folder: Path, builder: str, accelerator: str, say: Say, position: str) -> None:
    name = LIBRARIES[builder]
    say(
        f"building DeepSpeed's op {name} ({position}), once for this machine; takes a minute or two"
    )
    log = folder / f"{name}.build.log"
    started = said = time.monotonic()
    group = ProcessGroup(
        [sys.executable, "-m", "sweeper.worker.build_ops", builder],
        environment={
            **os.environ,
            "DS_ACCELERATOR": accelerator,
            "TORCH_EXTENSIONS_DIR": str(folder),
            "PYTHONPATH": os.pathsep.join([str(import_root()), os.environ.get("PYTHONPATH", "")]),
            "PATH": build_path(),
        },
        stdout=log,
        stderr=log.with_suffix(".err"),
    )
    try:
        while group.exit_code is None:
            time.sleep(0.2)
            if time.monotonic() - said >= SAY_EVERY_SECONDS:
                said = time.monotonic()
                say(f"building {name}: {said - started:.0f} s")
    finally:
        exit_code = group.exit_code
        group.end()
        clear_stale_locks(folder)
    if exit_code != 0:
        lines = log.with_suffix(".err").read_text(errors="replace").strip().splitlines()
        raise EnvironmentUnfit(
            f"DeepSpeed's op {name} cannot be built: {lines[-1] if lines else 'no output'}; "
            f"a C++ compiler is needed (Debian: apt-get install g++); the whole log is {log.with_suffix('.err')}"
        )
    say(f"built {name} in {time.monotonic() - started:.0f} s")
