"""Trials under a launcher: ``deepspeed`` or ``torchrun``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from sweeper.core.files import write_text
from sweeper.core.folder import TrialFolder
from sweeper.core.outcome import Outcome
from sweeper.core.spec import TrialSpec
from sweeper.errors import EnvironmentUnfit
from sweeper.run.launch import STUDY_PID, device_ids, pasteable, trial_environment
from sweeper.run.processes import ProcessGroup
from sweeper.run.trial_run import run_processes
from sweeper.run.watching import Watcher

WORKER = ("--module", "sweeper.worker")


class LauncherRunner:
    """``command`` gives the launcher's command line for a specification and a free port.

    ``worker`` is what it starts on each rank: ``--module`` and a module's name, or a script.
    """

    def __init__(
        self,
        command: Callable[[TrialSpec, int], list[str]],
        worker: tuple[str, ...] = WORKER,
    ) -> None:
        self._command = command
        self._worker = worker

    def run(self, spec: TrialSpec, folder: TrialFolder, watch: Watcher | None = None) -> Outcome:
        environment = trial_environment(spec)

        def start(port: int) -> ProcessGroup:
            command = [*self._command(spec, port), *self._worker, str(folder.spec.resolve())]
            write_text(folder.command, pasteable(command, environment))
            return ProcessGroup(
                command,
                environment={**os.environ, **environment, STUDY_PID: str(os.getpid())},
                stdout=folder.stdout,
                stderr=folder.stderr,
                mark=folder.mark,
            )

        return run_processes(spec, folder, start, watch)

    def prepare(self, spec: TrialSpec) -> None:
        """Each trial starts anew."""

    def close(self) -> None:
        """Nothing is kept between trials."""


def launcher_command(spec: TrialSpec) -> Callable[[TrialSpec, int], list[str]]:
    """DeepSpeed's own, but on a part of a device (MIG): that it cannot name, and torchrun takes the variable as it is."""
    ids = device_ids(spec.ranks) if spec.accelerator == "cuda" else []
    return deepspeed_command if all(map(str.isdecimal, ids)) else torchrun_command


def deepspeed_command(spec: TrialSpec, port: int) -> list[str]:
    """The real ``deepspeed`` launcher on this machine.

    Raises EnvironmentUnfit on a part of a device, which it cannot name.
    """
    devices = [f"--num_gpus={spec.ranks}"]
    if spec.accelerator == "cuda":
        # It drops CUDA_VISIBLE_DEVICES when --num_gpus is given: name the devices, which it takes for numbers.
        ids = device_ids(spec.ranks)
        if unnamed := [name for name in ids if not name.isdecimal()]:
            raise EnvironmentUnfit(
                f"DeepSpeed's launcher cannot name {unnamed[0]}, a part of a device; type launch=warm, or"
                " launch=torchrun"
            )
        devices = [f"--include=localhost:{','.join(ids)}"]
    return [
        *(sys.executable, "-m", "deepspeed.launcher.runner", "--hostfile=none"),
        *devices,
        *(f"--master_port={port}", "--no_local_rank"),
    ]


def torchrun_command(spec: TrialSpec, port: int) -> list[str]:
    """``torchrun`` on this machine; it takes a port of its own."""
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        f"--nproc_per_node={spec.ranks}",
    ]
