"""Runs a trial under the real ``deepspeed`` launcher."""

from __future__ import annotations

import os
import shlex
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sweeper.core.folder import TrialFolder, read_json, write_json, write_text
from sweeper.core.outcome import Crashed, Outcome
from sweeper.core.spec import TrialSpec
from sweeper.places import extensions_dir, import_root
from sweeper.run.ops import clear_stale_locks
from sweeper.run.processes import ProcessGroup
from sweeper.run.ranks import LOG_TAIL_LINES, RanksReport, outcome_of

POLL_SECONDS = 0.1
# All ranks have written, the launcher has not ended yet: it looks once a second.
LINGER_SECONDS = 15.0

Watcher = Callable[[Mapping[str, Any]], None]


class DeepSpeedRunner:
    """Specification in, outcome out; the processes are gone when ``run`` returns or raises.

    ``worker`` is what the launcher starts on each rank.
    """

    def __init__(self, worker: tuple[str, ...] = ("--module", "sweeper.worker")) -> None:
        self._worker = worker

    def run(self, spec: TrialSpec, folder: TrialFolder, watch: Watcher | None = None) -> Outcome:
        """``watch`` is called with rank 0's progress whenever it changes."""
        write_json(folder.spec, spec.to_json())
        write_json(folder.ds_config, spec.ds_config)
        command = self._command(spec, folder)
        environment = _trial_environment(spec)
        write_text(folder.command, _pasteable(command, environment))
        clear_stale_locks(extensions_dir())
        oom_kills_before = _kernel_oom_kills()
        try:
            group = ProcessGroup(
                command,
                environment={**os.environ, **environment},
                stdout=folder.stdout,
                stderr=folder.stderr,
            )
        except OSError as error:
            return Crashed(
                reason=f"the launcher cannot start: {error}", evidence=str(error), exit_code=None
            )
        try:
            deadline_passed = self._wait(group, spec, folder, watch)
            exit_code = group.exit_code
        finally:
            group.end()
        return outcome_of(
            RanksReport(
                results=[_result(folder, rank) for rank in range(spec.ranks)],
                phases=[_phase(folder, rank) for rank in range(spec.ranks)],
                exit_code=exit_code,
                deadline_passed=deadline_passed,
                kernel_killed=_kernel_oom_kills() > oom_kills_before,
                log_tail=_log_tail(folder.stderr),
            ),
            spec,
        )

    def _command(self, spec: TrialSpec, folder: TrialFolder) -> list[str]:
        launcher = [sys.executable, "-m", "deepspeed.launcher.runner"]
        where = ["--hostfile=none", *_devices(spec), f"--master_port={_free_port()}"]
        return [*launcher, *where, "--no_local_rank", *self._worker, str(folder.spec.resolve())]

    def _wait(
        self, group: ProcessGroup, spec: TrialSpec, folder: TrialFolder, watch: Watcher | None
    ) -> bool:
        """Until the launcher ended, or all ranks wrote; True where the deadline passed first."""
        deadline = time.monotonic() + spec.timeout_seconds
        seen: Any = None
        complete_since: float | None = None
        while group.exit_code is None:
            now = time.monotonic()
            if complete_since is None and all(
                folder.result(rank).exists() for rank in range(spec.ranks)
            ):
                complete_since = now
            if complete_since is not None and now > complete_since + LINGER_SECONDS:
                return False
            if complete_since is None and now > deadline:
                return True
            progress = read_json(folder.progress(0))
            if watch is not None and progress is not None and progress != seen:
                seen = progress
                watch(progress)
            time.sleep(POLL_SECONDS)
        return False


def _log_tail(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-LOG_TAIL_LINES:])


def _devices(spec: TrialSpec) -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if spec.accelerator == "cuda" and visible:
        # The launcher drops CUDA_VISIBLE_DEVICES when --num_gpus is given: name the devices.
        return [f"--include=localhost:{','.join(visible.split(',')[: spec.ranks])}"]
    return [f"--num_gpus={spec.ranks}"]


def _trial_environment(spec: TrialSpec) -> dict[str, str]:
    """What the trial needs beside the user's own environment."""
    search_path = [str(import_root()), os.environ.get("PYTHONPATH", "")]
    # The op builders look for ninja on PATH; it is installed beside this interpreter.
    programs = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    environment = {
        "DS_ACCELERATOR": spec.accelerator,
        "TORCH_EXTENSIONS_DIR": str(extensions_dir()),
        "PYTHONPATH": os.pathsep.join(filter(None, search_path)),
        "PATH": os.pathsep.join(filter(None, programs)),
    }
    if spec.accelerator == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        cores = len(os.sched_getaffinity(0))
        environment["OMP_NUM_THREADS"] = str(max(1, cores // spec.ranks))
    return environment


def _pasteable(command: list[str], environment: Mapping[str, str]) -> str:
    settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
    return f"{settings} {shlex.join(command)}\n"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _result(folder: TrialFolder, rank: int) -> Mapping[str, Any] | None:
    document = read_json(folder.result(rank))
    return document if isinstance(document, dict) and "kind" in document else None


def _phase(folder: TrialFolder, rank: int) -> str:
    document = read_json(folder.progress(rank))
    return str(document["phase"]) if isinstance(document, dict) and "phase" in document else "start"


def _kernel_oom_kills() -> int:
    """How often this machine's kernel has killed a process for want of memory."""
    try:
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except OSError:
        pass
    return 0
