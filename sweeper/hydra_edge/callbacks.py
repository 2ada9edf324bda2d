"""What happens around Hydra's own modes: checks before a job's folder is made, a report after a grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import Measured
from sweeper.core.script import typed_as
from sweeper.errors import NothingMeasured, SweeperError, UsageError
from sweeper.hydra_edge.compose import callbacks_of, no_model, settings_of
from sweeper.hydra_edge.hydra_options import check_hydra_options
from sweeper.hydra_edge.job import Throughput
from sweeper.hydra_edge.nothing_runs import check_runs
from sweeper.hydra_edge.study_place import own_grid, own_run
from sweeper.run.dry_run import check_model
from sweeper.run.hardware_here import check_hardware
from sweeper.run.tokens_file import check_tokens_file
from sweeper.terminal import exit_with, terminal


class StudyCallback(Callback):
    """Hydra turns a callback's exceptions into warnings: errors that end the command end it here."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        try:
            check_hydra_options(config, mode="run")
            typed = _typed(config)
            _no_script(typed)
            _no_callbacks(config)
            settings = settings_of(config)
            check_hardware(settings)
            check_tokens_file(settings)
            check_runs(settings)
            check_model(settings)
            own_run(config)
        except SweeperError as error:
            exit_with(error)

    def on_run_end(self, config: DictConfig, **more: Any) -> None:
        job_return: JobReturn = more["job_return"]
        if not isinstance(job_return._return_value, Throughput):
            return
        trial = job_return._return_value.trial
        folder = Path(str(config.hydra.run.dir))
        terminal().conclude(f"files: {folder}")
        if not isinstance(trial.outcome, Measured):
            exit_with(NothingMeasured(f"trial was not measured: {trial.outcome.reason}"))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """A model must be there; the sweepers compose the jobs, and check the rest."""
        overrides = _typed(config)
        try:
            check_hydra_options(config, mode="sweep")
        except UsageError as error:
            exit_with(error)
        if not config.get("model") and not any(
            override.key_or_group.split(".")[0] == "model" for override in overrides
        ):
            exit_with(UsageError(no_model("no model was given")))
        # What is typed for the jobs is not in this configuration.
        if "sweeper_optuna" in str(config.hydra.sweeper._target_):
            return
        try:
            _no_script(overrides)
        except UsageError as error:
            exit_with(error)
        typed = [o.input_line or "" for o in overrides if o.key_or_group == "callbacks"]
        if typed and typed[-1] != "callbacks=none":
            exit_with(UsageError(_nothing_to_follow(typed[-1])))
        try:
            own_grid(config)
        except SweeperError as error:
            exit_with(error)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """After Hydra's own grid; a study writes its report itself."""
        folder = StudyFolder(Path(str(config.hydra.sweep.dir)))
        if folder.report.exists() or not folder.trials.exists():
            return
        from sweeper.report.build import build_report

        terminal().conclude(build_report(folder, stop_reason="the grid was run"))


def _typed(config: DictConfig) -> list[Override]:
    """As typed: what an interpolation stands for is found where the jobs are composed."""
    lines = cast(list[str], OmegaConf.to_container(config.hydra.overrides.task))
    return OverridesParser.create().parse_overrides(lines)


def _no_script(typed: Sequence[Override]) -> None:
    """Raises UsageError where one is given: its own run, which a study begins with, says what to train."""
    given = {o.key_or_group: o.value() for o in typed if o.key_or_group.startswith("script.")}
    if path := given.get("script.path"):
        module = given.get("script.module")
        script = typed_as(str(path), str(module) if module else None)
        raise UsageError(
            f"{script}: a script is tuned by a study; type python -m sweeper {script} "
            "hydra/sweeper=optuna"
        )


def _no_callbacks(config: DictConfig) -> None:
    """Raises UsageError where some are chosen for one trial."""
    if chosen := callbacks_of(config):
        raise UsageError(_nothing_to_follow(f"callbacks={','.join(chosen)}"))


def _nothing_to_follow(typed: str) -> str:
    return (
        f"{typed}: callbacks follow a study; type hydra/sweeper=optuna too, or leave callbacks out"
    )
