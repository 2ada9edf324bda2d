"""The function that Hydra calls for each job."""

from __future__ import annotations

from pathlib import Path

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sweeper.core.folder import TrialFolder
from sweeper.errors import StudyGone, SweeperError
from sweeper.hydra_edge.compose import settings_of
from sweeper.hydra_edge.default_hardware import note_on_hardware
from sweeper.hydra_edge.hydra_versions import main
from sweeper.hydra_edge.job import Throughput, run_trial
from sweeper.places import conf_dir
from sweeper.run.dry_run import check_model, notes_on_model
from sweeper.run.hardware_here import check_hardware
from sweeper.run.machine import quick_look
from sweeper.terminal import exit_with, terminal


@main(config_path=str(conf_dir()), config_name="config")
def app(config: DictConfig) -> Throughput:
    """Runs one trial in Hydra's output folder, and returns its throughput."""
    job = HydraConfig.get()
    screen = terminal()
    folder = TrialFolder(Path(job.runtime.output_dir))
    try:
        settings = settings_of(config)
        check_hardware(settings)
        check_model(settings)  # in a plain grid, where nothing else has
        trial = run_trial(
            settings,
            machine=quick_look(),
            number=0 if OmegaConf.is_missing(job.job, "num") else int(job.job.num),
            point=folder.point or {},
            overrides=tuple(job.overrides.task),
            folder=folder,
            terminal=screen,
        )
    except StudyGone:
        raise  # the study has more to say
    except SweeperError as error:
        exit_with(error)
    if not _in_a_study(job):
        on_hardware = filter(None, [note_on_hardware(job.overrides.task)])
        for note in (*on_hardware, *trial.notes, *notes_on_model(settings)):
            screen.say(f"note: {note}")
        screen.row(trial, trial.overrides)
    return Throughput(trial)


def _in_a_study(job: HydraConf) -> bool:
    """Our own sweeper shows its trials itself."""
    return job.mode == RunMode.MULTIRUN and "sweeper_optuna" in str(job.sweeper._target_)
