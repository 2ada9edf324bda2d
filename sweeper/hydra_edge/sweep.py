"""A study behind ``hydra/sweeper=optuna``: overrides become a search space, jobs become trials."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, ListConfig, OmegaConf

from sweeper.core.ds_config import ops_needed
from sweeper.core.equivalence import best_trial
from sweeper.core.folder import StudyFolder, write_json
from sweeper.core.machine import Machine
from sweeper.core.outcome import Infeasible, Unsupported
from sweeper.core.plan import Plan, plan
from sweeper.core.settings import Settings
from sweeper.core.space import Choice, Point, SearchSpace, as_overrides
from sweeper.core.study import Budget, Study, StudyResult
from sweeper.core.trial import Trial
from sweeper.errors import Interrupted, NothingMeasured, SweeperError, UsageError
from sweeper.hydra_edge.compose import Composer, choices_of
from sweeper.hydra_edge.conditions import Conditions, options_first
from sweeper.hydra_edge.expressions import read
from sweeper.hydra_edge.job import Throughput, record_refused
from sweeper.hydra_edge.resume import check_unchanged, clear_unfinished
from sweeper.hydra_edge.study_file import resolved, write_study
from sweeper.run.exclusive import what_disturbs
from sweeper.run.launch import devices_of
from sweeper.run.machine import thorough_look
from sweeper.run.ops import ensure_ops
from sweeper.terminal import Terminal


def sweep(
    arguments: list[str],
    *,
    options: Mapping[str, Any],
    hydra_context: HydraContext,
    task_function: TaskFunction,
    config: DictConfig,
) -> StudyResult:
    """Runs the study and writes its report.

    Raises UsageError before anything is written, NothingMeasured and Interrupted after the report.
    """
    options = {name: _plain(value) for name, value in options.items()}
    typed = read(arguments, options.get("params") or {})
    typed = replace(typed, space=options_first(typed.space))
    composer = Composer(hydra_context.config_loader, config, typed.fixed)
    baseline = _baseline(composer, typed.space)
    settings = composer.settings(as_overrides(baseline))
    ops = _check_every_choice(composer, typed.space, baseline, settings)
    budget = _budget(options)

    terminal = Terminal()
    folder = StudyFolder(Path(str(config.hydra.sweep.dir)))
    resuming = bool(options.get("resume"))
    if folder.study.exists() and not resuming:
        raise UsageError(
            f"hydra.sweep.dir={folder.path}: there is a study in this folder; "
            "type hydra.sweep.dir=<another folder>, or leave it out for a new one"
        )
    accelerator = settings.hardware.accelerator
    config_now = resolved(composer.config(as_overrides(baseline)))
    if resuming:
        machine, environment = thorough_look(accelerator)
        check_unchanged(folder, config_now, environment)
    pending = clear_unfinished(folder)
    finished = folder.read_trials()
    conditions = Conditions(composer, typed.space)
    sampler = _open_sampler(options, typed.space, conditions, folder, config, finished)
    terminal.say(_headline(settings, typed.space, budget, folder))
    if resuming:
        terminal.say(f"going on with {len(finished)} finished trials")
    else:
        # After all that can be wrong with what was typed: this takes some seconds.
        machine, environment = thorough_look(accelerator)
        write_study(
            folder, options=options, typed=typed, config=config_now, environment=environment
        )
    ensure_ops(ops, accelerator=accelerator, say=terminal.say)

    for note in plan(settings, machine).notes:
        terminal.say(f"note: {note}")
    for disturbance in what_disturbs(devices_of(settings.hardware)):
        terminal.say(f"note: {disturbance}")
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=hydra_context, task_function=task_function, config=config
    )
    study = Study(
        sampler=sampler,
        plan=lambda point: plan(composer.settings(as_overrides(point)), machine),
        runner=_JobRunner(launcher, typed.fixed, machine, folder, terminal),
        budget=budget,
        clock=time.monotonic,
    )
    result = study.run(baseline, finished=finished, pending=pending)
    return _conclude(result, folder, terminal)


class _JobRunner:
    """Runs a candidate as a Hydra job, which leaves its trial in the study's folder."""

    def __init__(
        self,
        launcher: Any,
        fixed: Sequence[str],
        machine: Machine,
        folder: StudyFolder,
        terminal: Terminal,
    ) -> None:
        self._launcher = launcher
        self._fixed = list(fixed)
        self._machine = machine
        self._folder = folder
        self._terminal = terminal

    def run(self, number: int, point: Point, planned: Plan) -> Trial:
        overrides = as_overrides(point)
        folder = self._folder.trial(number)
        if isinstance(planned.ready, Infeasible | Unsupported):
            trial = record_refused(
                planned,
                machine=self._machine,
                number=number,
                point=point,
                overrides=(*self._fixed, *overrides),
                folder=folder,
            )
        else:
            write_json(
                folder.pending, {"schema_version": 1, "number": number, "point": dict(point)}
            )
            (returned,) = self._launcher.launch(
                [[*self._fixed, *overrides]], initial_job_idx=number
            )
            throughput = returned.return_value
            assert isinstance(throughput, Throughput)
            trial = throughput.trial
        self._terminal.row(trial, overrides or ("baseline",))
        return trial


def _plain(value: Any) -> Any:
    if isinstance(value, DictConfig | ListConfig):
        return OmegaConf.to_container(value, resolve=True)
    return value


def _budget(options: Mapping[str, Any]) -> Budget:
    for name, least in (("n_trials", 1), ("n_jobs", 1), ("max_crashes_in_a_row", 1)):
        if int(options[name]) < least:
            raise UsageError(
                f"hydra.sweeper.{name}={options[name]}: must be at least {least}; "
                f"type hydra.sweeper.{name}={least}"
            )
    if int(options["n_jobs"]) != 1:
        raise UsageError(
            f"hydra.sweeper.n_jobs={options['n_jobs']}: trials that run at once disturb each other's "
            "timing; type hydra.sweeper.n_jobs=1"
        )
    return Budget(
        trials=int(options["n_trials"]),
        seconds=options.get("timeout"),
        crashes_in_a_row=int(options["max_crashes_in_a_row"]),
        crash_rate=float(options["max_failure_rate"]),
    )


def _baseline(composer: Composer, space: SearchSpace) -> Point:
    """The user's own options, as a point of the space where they lie in it.

    A parameter without a value of its own (``+model=gpt2,gpt2-medium``) takes its first.
    """
    added = {
        name: domain.points()[0]  # type: ignore[index]
        for name, domain in space.parameters.items()
        if name.startswith("+") and domain.points()
    }
    config = composer.config(as_overrides(added))
    choices = choices_of(config)
    point: dict[str, str] = {}
    for name, domain in space.parameters.items():
        if name in added:
            point[name] = added[name]
            continue
        own = choices.get(name)
        if own is None:
            own = OmegaConf.select(config, name)
        points = domain.points()
        if own is None and points is not None and "null" in points:
            own = "null"  # a knob that is left to DeepSpeed
        if own is None or (points is not None and str(own) not in points):
            return added  # the user's own value is not among those that are searched
        point[name] = str(own)
    return point


def _check_every_choice(
    composer: Composer, space: SearchSpace, baseline: Point, settings: Settings
) -> tuple[str, ...]:
    """Composes each value of each parameter once, so that a bad one is an error before the first trial.

    Returns the ops that trials of the space may need.
    """
    ops = dict.fromkeys(ops_needed(settings))
    for name, domain in space.parameters.items():
        points = domain.points() if isinstance(domain, Choice) else (domain.points() or ())[:1]
        for value in points or ():
            composed = composer.settings(as_overrides({**baseline, name: value}))
            ops |= dict.fromkeys(ops_needed(composed))
    return tuple(ops)


def _open_sampler(
    options: Mapping[str, Any],
    space: SearchSpace,
    conditions: Conditions,
    folder: StudyFolder,
    config: DictConfig,
    finished: Sequence[Trial],
) -> Any:
    from sweeper.search.optuna_sampler import OptunaSampler, open_study

    seed = options.get("seed")
    if options.get("storage") is None:
        # The folders hold the facts: a journal that is here was left by a run that was killed. It may
        # end in half a line, and the lock beside it would be waited for; it is written anew.
        for path in folder.path.glob(f"{folder.journal.name}*"):
            path.unlink(missing_ok=True)
    study = open_study(
        space=space,
        sampler=options["sampler"],
        storage=options.get("storage"),
        journal=folder.journal,
        study_name=options.get("study_name") or folder.path.name,
        direction=_direction(options["direction"]),
        # Another seed for the rest, else a sampler would draw what it drew before.
        seed=None if seed is None else seed + len(finished),
    )
    extend = _custom_search_space(options.get("custom_search_space"), config)
    sampler = OptunaSampler(space, study, seed=seed, extend=extend, acts=conditions.acts)
    for trial in finished:
        sampler.replay(trial)
    if options.get("warm_start") and not finished:
        _learn_from(str(options["warm_start"]), sampler)
    return sampler


def _learn_from(earlier: str, sampler: Any) -> None:
    trials = StudyFolder(Path(earlier)).read_trials()
    if not trials:
        raise UsageError(
            f"hydra.sweeper.warm_start={earlier}: there is no trial in this folder; "
            "type hydra.sweeper.warm_start=results/<study>"
        )
    for trial in trials:
        sampler.learn(trial, earlier)


def _direction(direction: Any) -> str:
    if isinstance(direction, str):
        return direction
    raise UsageError(
        f"hydra.sweeper.direction={direction}: one objective, tokens/s; type hydra.sweeper.direction=maximize"
    )


def _custom_search_space(dotted: str | None, config: DictConfig) -> Callable[[Any], None] | None:
    """The stock plugin's hook: a function of the configuration and Optuna's trial that suggests more."""
    if dotted is None:
        return None
    module_name, _, name = dotted.rpartition(".")
    try:
        function = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"hydra.sweeper.custom_search_space={dotted}: cannot be imported ({error}); "
            "give package.module.function, a function of (config, trial)"
        ) from error
    return lambda trial: function(config, trial)


def _headline(settings: Settings, space: SearchSpace, budget: Budget, folder: StudyFolder) -> str:
    workload, hardware = settings.workload, settings.hardware
    size = space.size
    return (
        f"study of {settings.model.get('name', settings.model_target)} on {hardware.ranks} "
        f"{hardware.accelerator} rank(s): global batch {workload.global_batch_size} x "
        f"{workload.sequence_length} tokens, {'unbounded' if size is None else size} candidates, "
        f"{budget.trials} trials, in {folder.path}"
    )


def _conclude(result: StudyResult, folder: StudyFolder, terminal: Terminal) -> StudyResult:
    from sweeper.report.build import build_report

    terminal.say(f"stopped: {result.stop_reason}")
    best = best_trial(result.trials)
    if result.trials:
        terminal.conclude(build_report(folder, stop_reason=result.stop_reason))
    if result.interrupted:
        raise Interrupted(
            f"interrupted after {len(result.trials)} trials; they are in {folder.path}"
        )
    if result.broken:
        raise SweeperError(f"the study was stopped: {result.stop_reason.splitlines()[0]}")
    if best is None:
        raise NothingMeasured(
            f"no trial of {len(result.trials)} was measured; {folder.report} says why each failed"
        )
    return result
