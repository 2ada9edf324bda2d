"""Trials as forks of a process that has torch, DeepSpeed and the compiled ops loaded already."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import runpy
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import connection, forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from typing import Any

import psutil

from sweeper.core.files import read_json, write_text
from sweeper.core.folder import TrialFolder
from sweeper.core.outcome import Outcome
from sweeper.core.settings import HUGGING_FACE
from sweeper.core.spec import TrialSpec
from sweeper.run.launch import (
    STUDY_PID,
    pasteable,
    rank_environment,
    threads_for_each_rank,
    trial_environment,
)
from sweeper.run.launchers import (
    WORKER,
    LauncherRunner,
    deepspeed_command,
    launcher_command,
)
from sweeper.run.processes import KEEPER_SECONDS, MARK, Family
from sweeper.run.trial_run import run_processes
from sweeper.run.watching import Watcher
from sweeper.terminal import terminal

PRELOAD = "sweeper.worker.preload"
PRELOAD_HF = "sweeper.worker.preload_hf"
FORKED = "sweeper.worker.forked"
# The ranks of a trial in which one failed get so long to write why, before they are ended.
PEERS_GRACE_SECONDS = 2.0


class WarmRunner:
    """Forks ranks from a standard-library forkserver, which is started with the first trial.

    Where the forkserver turns out to have initialised CUDA its forks cannot use a device: that is
    said, and the ``deepspeed`` launcher takes over for good.
    """

    def __init__(self, worker: tuple[str, ...] = WORKER) -> None:
        self._worker = worker
        self._context = multiprocessing.get_context("forkserver")
        self._fallback: LauncherRunner | None = None

    def run(self, spec: TrialSpec, folder: TrialFolder, watch: Watcher | None = None) -> Outcome:
        if self._fallback is not None:
            return self._fallback.run(spec, folder, watch)
        if "backend" in (
            spec.cuda_allocator or ""
        ):  # chosen when torch is loaded, which here it is already
            return LauncherRunner(launcher_command(spec), self._worker).run(spec, folder, watch)
        environment = trial_environment(spec)

        def start(port: int) -> ForkedRanks:
            # What a person pastes: the same trial under the launcher.
            launcher = launcher_command(spec)
            command = [*launcher(spec, port), *WORKER, str(folder.spec.resolve())]
            write_text(folder.command, pasteable(command, environment))
            return self._start(spec, folder, environment, port)

        outcome = run_processes(spec, folder, start, watch)
        if _was_spoilt(folder, spec):
            command = launcher_command(spec)
            name = "deepspeed" if command is deepspeed_command else "torchrun"
            terminal().say(
                "something that is loaded before the ranks are forked initialised CUDA, so that they cannot use"
                f" it; going on with launch={name}"
            )
            self._fallback = LauncherRunner(command, self._worker)
            folder.forget_results(spec.ranks)
            return self._fallback.run(spec, folder, watch)
        return outcome

    def prepare(self, spec: TrialSpec) -> None:
        """The forkserver loads torch and DeepSpeed while the study does something else."""
        self._ensure_running(spec, trial_environment(spec))

    def _ensure_running(self, spec: TrialSpec, environment: Mapping[str, str]) -> None:
        more = [PRELOAD_HF] if spec.model_target == HUGGING_FACE else []
        resource_tracker.ensure_running()  # or starting the server would, and let interrupts in again
        with _environment(environment), _without_interrupts():
            self._context.set_forkserver_preload([PRELOAD, *more])
            forkserver.ensure_running()

    def close(self) -> None:
        """Ends the forkserver; it would also end with this process."""
        with contextlib.suppress(Exception):
            forkserver._forkserver._stop()  # type: ignore[attr-defined]

    def _stop(self) -> None:
        """Whatever it is in; the next trial starts another."""
        process = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.close()

    def _start(
        self, spec: TrialSpec, folder: TrialFolder, environment: Mapping[str, str], port: int
    ) -> ForkedRanks:
        self._ensure_running(spec, environment)
        ranks = [
            {
                "spec": str(folder.spec.resolve()),
                "environment": {
                    **os.environ,
                    **environment,
                    **rank_environment(spec, rank, port),
                    STUDY_PID: str(os.getpid()),
                    MARK: folder.mark,
                },
                "stdout": str(folder.stdout),
                "stderr": str(folder.stderr),
                "threads": threads_for_each_rank(spec),
                "worker": self._worker,
            }
            for rank in range(spec.ranks)
        ]
        return ForkedRanks(self._context, ranks, folder.mark, self._stop)


class ForkedRanks:
    """The ranks of one trial, each in a session of its own, below a keeper that is a fork of the warm process.

    They are asked for in a thread: what does not answer is found out by the trial's own deadlines.
    """

    def __init__(
        self,
        context: ForkServerContext,
        ranks: Sequence[Mapping[str, Any]],
        mark: str,
        stop_starter: Callable[[], None],
    ) -> None:
        self.remark = ""
        self._codes: list[int | None] = [None] * len(ranks)
        self._failed_at: float | None = None
        self._known: list[psutil.Process] = []
        self._is_started = False
        self._why_not: Exception | None = None
        self._stop_starter = stop_starter
        self._line, theirs = context.Pipe()
        self._keeper = context.Process(
            target=runpy.run_module,
            args=(FORKED, {"LINE": theirs, "RANKS": list(ranks)}, "__main__"),
        )
        self._starting = threading.Thread(target=self._start, args=(theirs,), daemon=True)
        self._starting.start()
        self._family = Family(mark, self._roots)

    def _start(self, theirs: Connection) -> None:
        try:
            self._keeper.start()
            self._line.send("begin")
            self._is_started = True
        except (
            OSError,
            EOFError,
        ) as error:  # the starter is gone, or the line: nobody waits any more
            self._why_not = error
        finally:
            theirs.close()

    @property
    def exit_code(self) -> int | None:
        """As a launcher's: the first failure ends the trial, after its peers have had time to write."""
        if self._why_not is not None:
            self.remark = "what ranks are forked from ended by itself"
            return 1
        is_open = self._listen()
        failed = [code for code in self._codes if code]
        if None not in self._codes:
            return failed[0] if failed else 0
        if not is_open:
            return failed[0] if failed else 1
        if failed:
            self._failed_at = self._failed_at or time.monotonic()
            if time.monotonic() > self._failed_at + PEERS_GRACE_SECONDS:
                return failed[0]
        return None

    @property
    def rank_exit_codes(self) -> Sequence[int | None]:
        """What is not known of a rank was not its own end: it was ended."""
        return tuple(self._codes)

    def _listen(self) -> bool:
        """Takes in what the keeper has said; False where it is gone."""
        try:
            while self._line.poll():
                match self._line.recv():
                    case ("started", list(processes)):
                        for process in processes:
                            with contextlib.suppress(psutil.NoSuchProcess):
                                self._known.append(psutil.Process(process))
                    case ("ended", int(rank), int(code)):
                        self._codes[rank] = code
        except (OSError, EOFError):
            return False
        return True

    def wait(self, seconds: float) -> None:
        connection.wait([self._line], timeout=seconds)

    def end(self) -> list[int]:
        self._line.close()  # the keeper ends all that it has started
        if not self._is_started:
            if self._why_not is None:
                self.remark = (
                    "what ranks are forked from did not answer, was ended and is started anew"
                )
            self._stop_starter()
        self._starting.join(timeout=KEEPER_SECONDS)
        if self._is_started:
            self._keeper.join(timeout=KEEPER_SECONDS)
        return self._family.end()

    def _roots(self) -> list[psutil.Process]:
        roots = [process for process in self._known if process.is_running()]
        if self._is_started and self._keeper.exitcode is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                roots.append(psutil.Process(self._keeper.pid))
        return roots


@contextlib.contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """The forkserver takes its environment from this process at its start."""
    here = {
        **changes,
        # Without this torch asks CUDA how many devices there are, which spoils every fork.
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
        # Of each rank its own: a part of a device (MIG) that is named here makes torch ask CUDA all the same.
        "CUDA_VISIBLE_DEVICES": None,
        "PYTORCH_CUDA_ALLOC_CONF": None,
    }
    before = {name: os.environ.get(name) for name in here}
    _set(here)
    try:
        yield
    finally:
        _set(before)


def _set(environment: Mapping[str, str | None]) -> None:
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """What is started within is deaf to the Ctrl-C that a terminal sends to all in the foreground.

    It is this process that ends a trial, and the first Ctrl-C does not. Ranks listen again.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _was_spoilt(folder: TrialFolder, spec: TrialSpec) -> bool:
    results = [read_json(folder.result(rank)) for rank in range(spec.ranks)]
    return any(isinstance(r, dict) and r.get("is_spoilt") for r in results)
