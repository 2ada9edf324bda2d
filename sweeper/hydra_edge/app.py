"""The function that Hydra calls for each job."""

from __future__ import annotations

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from sweeper.errors import SweeperError
from sweeper.hydra_edge.compose import settings_of
from sweeper.hydra_edge.job import Throughput, run_trial, trial_folder
from sweeper.places import conf_dir
from sweeper.run.machine import quick_look
from sweeper.terminal import Terminal, exit_with


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")
def app(config: DictConfig) -> Throughput:
    """Runs one trial in Hydra's output folder, and returns its throughput."""
    job = HydraConfig.get()
    terminal = Terminal()
    try:
        trial = run_trial(
            settings_of(config),
            machine=quick_look(),
            number=int(job.job.get("num") or 0) if "num" in job.job else 0,
            overrides=tuple(job.overrides.task),
            folder=trial_folder(job.runtime.output_dir),
            terminal=terminal,
        )
    except SweeperError as error:
        exit_with(error)
    if not _in_a_study(job):
        for note in trial.notes:
            terminal.say(f"note: {note}")
        terminal.row(trial, trial.overrides)
    return Throughput(trial)


def _in_a_study(job: DictConfig) -> bool:
    """Our own sweeper shows its trials itself."""
    return job.mode == RunMode.MULTIRUN and "sweeper_optuna" in str(job.sweeper._target_)
