"""Chooses what starts the ranks of a trial."""

from __future__ import annotations

import functools
from collections.abc import Callable

from sweeper.run.launchers import LauncherRunner, deepspeed_command, torchrun_command
from sweeper.run.trial_run import TrialRunner
from sweeper.run.warm import WarmRunner


@functools.cache
def runner(name: str) -> TrialRunner:
    """The runner of that name: ``warm``, ``deepspeed`` or ``torchrun``; one for each process.

    Raises KeyError for any other name; the settings have checked it.
    """
    makers: dict[str, Callable[[], TrialRunner]] = {
        "warm": WarmRunner,
        "deepspeed": lambda: LauncherRunner(deepspeed_command),
        "torchrun": lambda: LauncherRunner(torchrun_command),
    }
    return makers[name]()
