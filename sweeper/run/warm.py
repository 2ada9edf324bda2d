"""Trials as forks of a process that has torch, DeepSpeed and the compiled ops loaded already."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import runpy
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import connection, forkserver, resource_tracker
from multiprocessing.process import BaseProcess

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
from sweeper.run.launchers import WORKER, LauncherRunner, deepspeed_command
from sweeper.run.processes import MARK, Family
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
        environment = trial_environment(spec)

        def start(port: int) -> ForkedRanks:
            # What a person pastes: the same trial under the launcher.
            command = [*deepspeed_command(spec, port), *WORKER, str(folder.spec.resolve())]
            write_text(folder.command, pasteable(command, environment))
            return self._start(spec, folder, environment, port)

        outcome = run_processes(spec, folder, start, watch)
        if _was_bad_fork(folder, spec):
            terminal().say(
                "the warm runner's forks cannot use CUDA; going on with launch=deepspeed"
            )
            self._fallback = LauncherRunner(deepspeed_command)
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

    def _start(
        self, spec: TrialSpec, folder: TrialFolder, environment: Mapping[str, str], port: int
    ) -> ForkedRanks:
        self._ensure_running(spec, environment)
        ranks = []
        for rank in range(spec.ranks):
            parameters = {
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
            process = self._context.Process(
                target=runpy.run_module, args=(FORKED, {"PARAMETERS": parameters}, "__main__")
            )
            process.start()
            ranks.append(process)
        return ForkedRanks(ranks, folder.mark)


class ForkedRanks:
    """The ranks of one trial, each in a session of its own."""

    def __init__(self, ranks: Sequence[BaseProcess], mark: str) -> None:
        self._ranks = ranks
        self._known = []
        for rank in ranks:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._known.append(psutil.Process(rank.pid))
        self._failed_at: float | None = None
        self._family = Family(mark, self._roots)

    @property
    def exit_code(self) -> int | None:
        """As a launcher's: the first failure ends the trial, after its peers have had time to write."""
        codes = [rank.exitcode for rank in self._ranks]
        failed = [code for code in codes if code]
        if None not in codes:
            return failed[0] if failed else 0
        if failed:
            self._failed_at = self._failed_at or time.monotonic()
            if time.monotonic() > self._failed_at + PEERS_GRACE_SECONDS:
                return failed[0]
        return None

    def wait(self, seconds: float) -> None:
        running = [rank.sentinel for rank in self._ranks if rank.exitcode is None]
        connection.wait(running, timeout=seconds)

    def end(self) -> list[int]:
        stuck = self._family.end()
        for rank in self._ranks:
            rank.join(timeout=1.0)
        return stuck

    def _roots(self) -> list[psutil.Process]:
        return [process for process in self._known if process.is_running()]


@contextlib.contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """The forkserver takes its environment from this process at its start."""
    # Without this torch asks CUDA how many devices there are, which spoils every fork.
    changes = {**changes, "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
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


def _was_bad_fork(folder: TrialFolder, spec: TrialSpec) -> bool:
    results = [read_json(folder.result(rank)) for rank in range(spec.ranks)]
    return any(isinstance(r, dict) and r.get("kind") == "bad-fork" for r in results)
