"""One trial from specification to outcome, whatever its processes are started with."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from sweeper.core.files import read_json, write_json
from sweeper.core.folder import TrialFolder
from sweeper.core.outcome import Crashed, Outcome
from sweeper.core.spec import TrialSpec
from sweeper.places import extensions_dir
from sweeper.run.launch import free_port
from sweeper.run.ops import clear_stale_locks
from sweeper.run.processes import Processes
from sweeper.run.ranks import LOG_TAIL_LINES, Ending, RanksReport, outcome_of
from sweeper.run.room import Room
from sweeper.run.shared_memory import clear_shared_memory
from sweeper.run.watching import Watch, Watcher

# Seldom: the cores are the ranks'.
POLL_SECONDS = 0.1
# All ranks have written, but what started them has not ended: the deepspeed launcher looks once a second.
LINGER_SECONDS = 15.0
# Ranks that step hang when no step has come for so many times the longest one so far, and so long.
HANG_FACTOR = 20.0
HANG_SECONDS_BETWEEN_STEPS = 30.0
_STEPS_KNOWN = 3  # the first allocates, compiles and tunes: how long a step takes is known after it
# After a rank has failed torchrun adds its own traceback and a summary to what the rank wrote last.
_TORCHRUN_EPILOGUE = re.compile(r"^.*torch/distributed/elastic/.*failed \(exitcode", re.MULTILINE)
PORT_ATTEMPTS = 3
_PORT_TAKEN = re.compile("address already in use|EADDRINUSE", re.IGNORECASE)


class TrialRunner(Protocol):
    """Specification in, outcome out; the processes are gone when ``run`` returns or raises."""

    def run(self, spec: TrialSpec, folder: TrialFolder, watch: Watcher | None = None) -> Outcome:
        """``watch`` is called with rank 0's progress and the memory in use, twice a second."""

    def prepare(self, spec: TrialSpec) -> None:
        """Begins what takes long before a first trial such as this one, and does not wait for it."""

    def close(self) -> None:
        """Ends what the runner keeps between trials."""


def run_processes(
    spec: TrialSpec,
    folder: TrialFolder,
    start: Callable[[int], Processes],
    watch: Watcher | None,
) -> Outcome:
    """Writes the specification, starts (on a port), waits, ends, and judges by what the ranks wrote.

    A port that somebody else took between our look and the ranks' use costs no trial.
    """
    write_json(folder.spec, spec.to_json())
    write_json(folder.ds_config, spec.ds_config)
    for _ in range(PORT_ATTEMPTS - 1):
        outcome = _run_once(spec, folder, start, watch)
        if not (isinstance(outcome, Crashed) and _port_was_taken(spec, folder)):
            return outcome
        folder.forget_results(spec.ranks)
    return _run_once(spec, folder, start, watch)


def _run_once(
    spec: TrialSpec,
    folder: TrialFolder,
    start: Callable[[int], Processes],
    watch: Watcher | None,
) -> Outcome:
    clear_stale_locks(extensions_dir())
    clear_shared_memory()
    oom_kills_before = _kernel_oom_kills()
    room = Room(folder, spec.ranks)
    pulse = _Pulse(folder, spec)  # from here on: also what starts ranks may never answer
    try:
        processes = start(free_port())
    except OSError as error:
        return Crashed(
            reason=f"the launcher cannot start: {error}", evidence=str(error), exit_code=None
        )
    try:
        ending = _wait(processes, spec, folder, watch, pulse, room)
        exit_code, codes = processes.exit_code, processes.rank_exit_codes
    finally:
        stuck = processes.end()
        clear_stale_locks(extensions_dir())
        for port in {port for rank in range(spec.ranks) if (port := _port(folder, rank))}:
            clear_shared_memory(port=port)
    ranks = range(spec.ranks)
    return outcome_of(
        RanksReport(
            results=[_result(folder, rank) for rank in ranks],
            phases=[_phase(folder, rank) for rank in ranks],
            exit_code=exit_code,
            ending=ending,
            patience_seconds=pulse.patience_seconds,
            kernel_killed=_kernel_oom_kills() > oom_kills_before,
            log_tail=_log_tail(folder.stderr),
            stuck_processes=stuck,
            rank_exit_codes=codes,
            full_ranks=room.full,
            remark=processes.remark,
        ),
        spec,
    )


def _wait(
    processes: Processes,
    spec: TrialSpec,
    folder: TrialFolder,
    watch: Watcher | None,
    pulse: _Pulse,
    room: Room,
) -> Ending:
    """Until the processes ended, or all ranks wrote; or until the deadline, or too long without progress."""
    complete_since: float | None = None
    watched = Watch(folder, spec.ranks, watch)
    while processes.exit_code is None:
        now = time.monotonic()
        if complete_since is None and all(
            folder.result(rank).exists() for rank in range(spec.ranks)
        ):
            complete_since = now
        if complete_since is not None:
            if now > complete_since + LINGER_SECONDS:
                return Ending.BY_ITSELF
        elif now > pulse.since + spec.timeout_seconds:
            return Ending.DEADLINE
        elif pulse.has_stopped(now):
            return Ending.NO_PROGRESS
        watched.look(now)
        room.look(now)
        processes.wait(POLL_SECONDS)
    return Ending.BY_ITSELF


class _Pulse:
    """Whether any rank still makes progress, told by its progress files.

    Before the steps, patience is ``hang_seconds``: how long a build takes is not known. Once steps
    come, it is what the next one should take, with a wide margin.
    """

    def __init__(self, folder: TrialFolder, spec: TrialSpec) -> None:
        self._files = [folder.progress(rank) for rank in range(spec.ranks)]
        self._hang_seconds = spec.hang_seconds
        self._stamps: list[int] = []
        self.since = self._last_change = time.monotonic()
        self._longest_gap = 0.0
        self._steps_known = False

    @property
    def patience_seconds(self) -> float:
        least = self._hang_seconds
        if self._steps_known:
            least = min(least, HANG_SECONDS_BETWEEN_STEPS)
        return max(least, HANG_FACTOR * self._longest_gap)

    def has_stopped(self, now: float) -> bool:
        stamps = [_modified_ns(path) for path in self._files]
        if stamps != self._stamps:
            if any(self._stamps):  # not the time that it took to start
                self._longest_gap = max(self._longest_gap, now - self._last_change)
            self._stamps, self._last_change = stamps, now
            self._steps_known = self._steps_known or all(map(_has_stepped, self._files))
        return now - self._last_change > self.patience_seconds


def _has_stepped(progress: Path) -> bool:
    document = read_json(progress)
    return isinstance(document, dict) and document.get("step", 0) >= _STEPS_KNOWN


def _modified_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _log_tail(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    ranks_own = _TORCHRUN_EPILOGUE.split(text)[0]
    return "\n".join(ranks_own.splitlines()[-LOG_TAIL_LINES:])


def _result(folder: TrialFolder, rank: int) -> Mapping[str, Any] | None:
    document = read_json(folder.result(rank))
    return document if isinstance(document, dict) and "kind" in document else None


def _phase(folder: TrialFolder, rank: int) -> str:
    document = read_json(folder.progress(rank))
    return str(document["phase"]) if isinstance(document, dict) and "phase" in document else "start"


def _port_was_taken(spec: TrialSpec, folder: TrialFolder) -> bool:
    """As a rank told it."""
    found = [_result(folder, rank) for rank in range(spec.ranks)]
    return any(r and r["kind"] == "error" and _PORT_TAKEN.search(r["reason"]) for r in found)


def _port(folder: TrialFolder, rank: int) -> str | None:
    """Where the ranks met."""
    document = read_json(folder.progress(rank))
    return document.get("port") if isinstance(document, dict) else None


def _kernel_oom_kills() -> int:
    """How often the kernel has killed a process for want of memory: in this control group, else at all."""
    for path, name in (
        (Path("/sys/fs/cgroup/memory.events"), "oom_kill "),
        (Path("/proc/vmstat"), "oom_kill "),
    ):
        with contextlib.suppress(OSError):
            for line in path.read_text().splitlines():
                if line.startswith(name):
                    return int(line.split()[1])
    return 0
