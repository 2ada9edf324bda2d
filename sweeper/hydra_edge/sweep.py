"""A study behind ``hydra/sweeper=optuna``: overrides become a search space, jobs become trials."""

from __future__ import annotations

import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, ListConfig, OmegaConf

from sweeper.callbacks.following import Followed, make_callbacks
from sweeper.core.contest_record import read_contest
from sweeper.core.ds_config import ops_needed
from sweeper.core.equivalence import best_trial
from sweeper.core.finalists import Contest, finalists_of
from sweeper.core.folder import StudyFolder, write_json
from sweeper.core.machine import Machine
from sweeper.core.objective import Objective
from sweeper.core.outcome import Infeasible, Measured, Unsupported
from sweeper.core.plan import Plan, plan
from sweeper.core.seeds import seeds
from sweeper.core.settings import Settings
from sweeper.core.space import Choice, Point, SearchSpace, as_overrides
from sweeper.core.spec import TrialSpec
from sweeper.core.standing import standing
from sweeper.core.study import Budget, Study, StudyResult
from sweeper.core.trial import Trial
from sweeper.errors import Interrupted, NothingMeasured, SweeperError, UsageError
from sweeper.hydra_edge.compose import Composer, callbacks_of, choices_of, objective_of
from sweeper.hydra_edge.conditions import Conditions, options_first
from sweeper.hydra_edge.expressions import read
from sweeper.hydra_edge.job import Throughput, record_refused
from sweeper.hydra_edge.planner import Planner
from sweeper.hydra_edge.resume import check_unchanged, clear_unfinished
from sweeper.hydra_edge.sampling import open_sampler
from sweeper.hydra_edge.script import fitted_to_script
from sweeper.hydra_edge.study_file import resolved, write_study
from sweeper.run.dry_run import check_model, groups_that_do_nothing
from sweeper.run.exclusive import what_disturbs
from sweeper.run.finalists import run_contest
from sweeper.run.launch import devices_of
from sweeper.run.machine import quick_look, thorough_look
from sweeper.run.ops import are_built, ensure_ops
from sweeper.run.runners import runner
from sweeper.terminal import Terminal

# A space of so many points is looked through before the first trial: some milliseconds each.
MAX_LISTED_POINTS = 2_000


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

    def compose(fixed: Sequence[str]) -> Composer:
        return Composer(hydra_context.config_loader, config, fixed)

    composer = compose(typed.fixed)
    baseline, settings, ops = _checked(composer, typed.space)
    useless = groups_that_do_nothing(settings)
    typed = replace(typed, space=_without(typed.space, useless))
    baseline = {name: value for name, value in baseline.items() if name in typed.space.parameters}
    budget = _budget(options)
    objective = objective_of(composer.config(as_overrides(baseline)))

    terminal = Terminal()
    followed = Followed(make_callbacks(_callbacks(typed.space, composer)), terminal.say)
    folder = StudyFolder(Path(str(config.hydra.sweep.dir)))
    resuming = bool(options.get("resume"))
    if folder.study.exists() and not resuming:
        raise UsageError(
            f"hydra.sweep.dir={folder.path}: there is a study in this folder; "
            "type hydra.sweep.dir=<another folder>, or leave it out for a new one"
        )
    if settings.is_script:
        fitted = fitted_to_script(typed, lambda f: compose(f).settings(()), folder, terminal)
        typed = fitted.typed
        composer = compose(typed.fixed)
        baseline, settings, ops = _checked(composer, typed.space)
        for note in fitted.notes:
            terminal.say(f"note: {note}")
    accelerator = settings.hardware.accelerator
    config_now = resolved(composer.config(as_overrides(baseline)))
    if resuming:
        machine, environment = thorough_look(accelerator)
        check_unchanged(folder, config_now, environment)
    pending = clear_unfinished(folder)
    finished = folder.read_trials()
    planner = Planner(composer)
    sampler = open_sampler(
        options,
        typed.space,
        conditions=Conditions(composer, typed.space),
        likelihood=planner.likelihood,
        objective=objective,
        folder=folder,
        config=config,
        settings=settings,
        finished=finished,
    )
    terminal.say(_headline(settings, typed.space, budget, folder))
    if resuming:
        terminal.say(f"going on with {len(finished)} finished trials")
    else:
        # After all that can be wrong with what was typed: this takes some seconds.
        _begin_to_load(settings, ops)
        machine, environment = thorough_look(accelerator)
        write_study(
            folder, options=options, typed=typed, config=config_now, environment=environment
        )
    planner.look_from(machine, finished)
    if not resuming:
        _tell_ruled_out(planner, typed.space, folder, terminal)
    ensure_ops(ops, accelerator=accelerator, say=terminal.say)

    for group, why in useless.items():
        terminal.say(f"note: {group} is not searched: {why}")
    for note in plan(settings, machine).notes:
        terminal.say(f"note: {note}")
    for disturbance in what_disturbs(devices_of(accelerator, settings.hardware.ranks)):
        terminal.say(f"note: {disturbance}")
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=hydra_context, task_function=task_function, config=config
    )
    study = Study(
        sampler=sampler,
        plan=planner.plan,
        runner=followed.following(
            _JobRunner(launcher, typed.fixed, machine, folder, terminal, planner)
        ),
        budget=budget,
        clock=time.monotonic,
        objective=objective,
        seeds=lambda: seeds(
            typed.space,
            baseline,
            likelihood=planner.likelihood,
            count=min(int(options["n_seeds"]), budget.trials // 2),
        ),
    )
    model = settings.model.get("name", settings.model_target)
    followed.begin(folder, {"model": model, **environment}, finished)
    with followed:
        result = study.run(baseline, finished=finished, pending=pending)
        return _conclude(result, folder, terminal, objective, options, planner)


def _callbacks(space: SearchSpace, composer: Composer) -> dict[str, dict[str, Any]]:
    if "callbacks" in space.parameters:
        raise UsageError(
            "callbacks=a,b would be searched; type 'callbacks=[mlflow,tensorboard]' for several"
        )
    return callbacks_of(composer.config(()))


def _without(space: SearchSpace, groups: Container[str]) -> SearchSpace:
    """The space without what would do nothing."""
    return SearchSpace(
        parameters={
            name: domain
            for name, domain in space.parameters.items()
            if name.partition(".")[0] not in groups
        }
    )


def _begin_to_load(settings: Settings, ops: Sequence[str]) -> None:
    """What starts trials loads beside the look at the machine; not before its ops are there to be loaded."""
    ready = plan(settings, quick_look()).ready
    if isinstance(ready, TrialSpec) and are_built(ops):
        runner(settings.launch.runner).prepare(ready)


def _tell_ruled_out(
    planner: Planner, space: SearchSpace, folder: StudyFolder, terminal: Terminal
) -> None:
    """How much of a space that can be listed is not worth a trial, and why."""
    if space.size is None or space.size > MAX_LISTED_POINTS:
        return
    found: dict[str, dict[str, Any]] = {}
    for point in space.points():
        refused = planner.plan(point).ready
        if isinstance(refused, Infeasible | Unsupported):
            rule = refused.rule if isinstance(refused, Infeasible) else "unsupported"
            entry = found.setdefault(rule, {"candidates": 0, "reason": refused.reason})
            entry["candidates"] += 1
    write_json(folder.ruled_out, {"schema_version": 1, "space": space.size, "rules": found})
    if found:
        number = sum(entry["candidates"] for entry in found.values())
        terminal.say(
            f"{number} of {space.size} candidates are ruled out before they are run "
            f"({', '.join(found)}); the report says why"
        )


class _JobRunner:
    """Runs a candidate as a Hydra job, which leaves its trial in the study's folder."""

    def __init__(
        self,
        launcher: Any,
        fixed: Sequence[str],
        machine: Machine,
        folder: StudyFolder,
        terminal: Terminal,
        planner: Planner,
    ) -> None:
        self._launcher = launcher
        self._planner = planner
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
            self._planner.write_prediction(planned, folder)
            beaten = planned.ready.beaten_step_seconds
            racing = [] if beaten is None else [f"measure.beaten_seconds={beaten:.6g}"]
            (returned,) = self._launcher.launch(
                [[*self._fixed, *overrides, *racing]], initial_job_idx=number
            )
            throughput = returned.return_value
            assert isinstance(throughput, Throughput)
            trial = throughput.trial
        self._planner.learn(trial)
        self._terminal.row(trial, overrides or ("baseline",))
        return trial


def _plain(value: Any) -> Any:
    if isinstance(value, DictConfig | ListConfig):
        return OmegaConf.to_container(value, resolve=True)
    return value


def _budget(options: Mapping[str, Any]) -> Budget:
    for name, least in (
        ("n_trials", 1),
        ("n_jobs", 1),
        ("max_crashes_in_a_row", 1),
        ("patience", 1),
        ("n_seeds", 0),
        ("finalists", 0),
        ("finalist_rounds", 3),
    ):
        if options[name] is not None and int(options[name]) < least:
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
        patience=options.get("patience"),
        crashes_in_a_row=int(options["max_crashes_in_a_row"]),
        crash_rate=float(options["max_failure_rate"]),
    )


def _checked(composer: Composer, space: SearchSpace) -> tuple[Point, Settings, tuple[str, ...]]:
    """The baseline, its settings, and the ops that trials may need; raises UsageError for a bad value."""
    baseline = _baseline(composer, space)
    settings = composer.settings(as_overrides(baseline))
    return baseline, settings, _check_every_choice(composer, space, baseline, settings)


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
    check_model(settings)
    for name, domain in space.parameters.items():
        points = domain.points() if isinstance(domain, Choice) else (domain.points() or ())[:1]
        for value in points or ():
            composed = composer.settings(as_overrides({**baseline, name: value}))
            ops |= dict.fromkeys(ops_needed(composed))
            check_model(composed)
    return tuple(ops)


def _headline(settings: Settings, space: SearchSpace, budget: Budget, folder: StudyFolder) -> str:
    workload, hardware = settings.workload, settings.hardware
    size = space.size
    return (
        f"study of {settings.model.get('name', settings.model_target)} on {hardware.ranks} "
        f"{hardware.accelerator} rank(s): global batch {workload.global_batch_size} x "
        f"{workload.sequence_length} tokens, {'unbounded' if size is None else size} candidates, "
        f"{budget.trials} trials, in {folder.path}"
    )


def _conclude(
    result: StudyResult,
    folder: StudyFolder,
    terminal: Terminal,
    objective: Objective,
    options: Mapping[str, Any],
    planner: Planner,
) -> StudyResult:
    from sweeper.report.build import build_report

    terminal.say(f"stopped: {result.stop_reason}")
    best = best_trial(result.trials, objective)
    if best is not None and not result.interrupted and not result.broken:
        try:
            _measure_finalists(result.trials, folder, terminal, objective, options)
        except KeyboardInterrupt:
            result = replace(result, interrupted=True)
    finals = read_contest(folder.finalists)
    winner = standing(result.trials, objective, finals and finals[1]).winner
    if winner is not None:
        planner.look_ahead(winner, folder)
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


def _measure_finalists(
    trials: Sequence[Trial],
    folder: StudyFolder,
    terminal: Terminal,
    objective: Objective,
    options: Mapping[str, Any],
) -> None:
    """The best few and the baseline once more, in turns, where it is speed that decides."""
    best = finalists_of(trials, int(options["finalists"]), objective)
    baseline = trials[0].number if isinstance(trials[0].outcome, Measured) else None
    ranks = {trials[n].settings["hardware.ranks"] for n in best}
    by_speed = objective.kind in ("throughput", "time_to_target") or (
        objective.kind == "cost" and len(ranks) == 1
    )
    if not by_speed or set(best) <= {baseline}:
        return
    contest = Contest(finalists=best, baseline=baseline, max_rounds=int(options["finalist_rounds"]))
    terminal.say(f"measuring trials {', '.join(map(str, contest.entrants))} again, in turns")
    run_contest(contest, folder, rounds=folder.finalists, terminal=terminal)
