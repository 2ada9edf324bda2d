"""A study behind ``hydra/sweeper=optuna``: overrides become a search space, jobs become trials."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, ListConfig, OmegaConf

from sweeper.callbacks.following import Followed, make_callbacks
from sweeper.core.equivalence import best_trial
from sweeper.core.evidence import evidence_of
from sweeper.core.folder import StudyFolder
from sweeper.core.machine import Machine
from sweeper.core.objective import THROUGHPUT, Objective
from sweeper.core.outcome import Measured
from sweeper.core.plan import plan
from sweeper.core.quantities import format_rate
from sweeper.core.seeds import seeds
from sweeper.core.space import SearchSpace, as_overrides
from sweeper.core.spec import TrialSpec
from sweeper.core.study import Budget, Study, StudyResult
from sweeper.core.trial import Trial
from sweeper.errors import UsageError
from sweeper.hydra_edge.baseline import Composed, check_same_work, composed, without
from sweeper.hydra_edge.budget import budget_of
from sweeper.hydra_edge.compose import Composer, callbacks_of, objective_of
from sweeper.hydra_edge.conclude import conclude, play_finals
from sweeper.hydra_edge.conditions import Conditions, options_first
from sweeper.hydra_edge.default_hardware import note_on_hardware
from sweeper.hydra_edge.expressions import Typed, read
from sweeper.hydra_edge.job_runner import JobRunner
from sweeper.hydra_edge.known_before import check_options_of_study, settings_typed
from sweeper.hydra_edge.messages import check_options
from sweeper.hydra_edge.nothing_runs import check_rules_leave_some, check_some_run
from sweeper.hydra_edge.planner import Planner
from sweeper.hydra_edge.resume import check_unchanged, clear_unfinished, put_damaged_aside
from sweeper.hydra_edge.sampling import open_sampler
from sweeper.hydra_edge.script import fitted_to_script
from sweeper.hydra_edge.study_file import (
    resolved,
    storage_as_typed,
    without_password,
    write_study,
)
from sweeper.hydra_edge.study_place import place_of, refuse_a_second
from sweeper.hydra_edge.study_plan import (
    headline,
    known_ruled_out,
    look_through,
    shown_budget,
    study_plan,
    write_ruled_out,
)
from sweeper.hydra_edge.warm_start import earlier_trials, what_is_learned
from sweeper.hydra_edge.work import work_of
from sweeper.run.dry_run import check_model, groups_that_do_nothing, notes_on_model
from sweeper.run.exclusive import what_disturbs
from sweeper.run.hardware_here import check_hardware
from sweeper.run.interrupts import Interrupts
from sweeper.run.launch import devices_of
from sweeper.run.left_out import left_out
from sweeper.run.leftovers import sweep_temporary
from sweeper.run.machine import quick_look, thorough_look
from sweeper.run.ops import are_built, ensure_ops
from sweeper.run.runners import runner
from sweeper.run.study_lock import check_owned, owned
from sweeper.run.study_record import study_document
from sweeper.terminal import State, Terminal, ended, terminal


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
    check_options(options)
    budget = budget_of(options)
    typed = read(arguments, options.get("params") or {}, hydra_context.config_loader)
    typed = replace(typed, space=options_first(typed.space))
    check_same_work(typed.space)

    def compose(fixed: Sequence[str]) -> Composer:
        return Composer(hydra_context.config_loader, config, fixed)

    screen = terminal()
    composer = compose(typed.fixed)
    if (known := settings_typed(composer)) is not None:
        check_hardware(known)
    check_rules_leave_some(composer, typed.space)
    check_options_of_study(options, typed.space, composer, config)
    callbacks = _callbacks(typed.space, composer)
    found = composed(composer, typed.space)
    if not found.settings.is_script:
        conditions = Conditions(composer, typed.space)
        check_some_run(Planner(composer), typed.space, conditions, found.baseline)
    followed = Followed(make_callbacks(callbacks), screen.say)
    folder, at, made = place_of(config)
    resuming = bool(options.get("resume"))
    measured = _Measured()
    with owned(
        folder,
        what="study",
        typed=f"resume={folder.path}" if resuming else at,
        made=made,
        epilogue=measured.in_words,
    ):
        if not resuming:
            refuse_a_second(folder)
        return _study_in(
            folder,
            typed=typed,
            found=found,
            compose=compose,
            composer=composer,
            followed=followed,
            budget=budget,
            resuming=resuming,
            measured=measured,
            screen=screen,
            options=options,
            hydra_context=hydra_context,
            task_function=task_function,
            config=config,
        )


def _study_in(
    folder: StudyFolder,
    *,
    typed: Typed,
    found: Composed,
    compose: Callable[[Sequence[str]], Composer],
    composer: Composer,
    followed: Followed,
    budget: Budget,
    resuming: bool,
    measured: _Measured,
    screen: Terminal,
    options: Mapping[str, Any],
    hydra_context: HydraContext,
    task_function: TaskFunction,
    config: DictConfig,
) -> StudyResult:
    """In a folder that is this process's own."""
    if found.settings.is_script:
        fitted = fitted_to_script(typed, lambda f: compose(f).settings(()), folder, screen)
        typed = fitted.typed
        composer = compose(typed.fixed)
        found = composed(composer, typed.space)
        for note in fitted.notes:
            screen.say(f"note: {note}")
    with screen.busy("looking at the model and the machine"):
        machine, environment = _look(found)
    useless = groups_that_do_nothing(found.settings)
    typed = replace(typed, space=without(typed.space, useless))
    settings, accelerator = found.settings, found.settings.hardware.accelerator
    baseline = {n: value for n, value in found.baseline.items() if n in typed.space.parameters}
    config_of_baseline = composer.config(as_overrides(baseline))
    objective = objective_of(config_of_baseline)
    config_now = resolved(config_of_baseline)
    if resuming:
        check_unchanged(folder, config_now, environment)
    earlier = earlier_trials(options, settings)
    evidence = evidence_of(earlier, settings, environment)
    planner = Planner(composer)
    conditions = Conditions(composer, typed.space)
    if not resuming:
        with screen.busy("looking at what can work on this machine"):
            planner.look_from(machine, evidence.peaks)
            check_some_run(planner, typed.space, conditions, baseline)
    if resuming:
        sweep_temporary(folder)
    pending = clear_unfinished(folder)
    lost = put_damaged_aside(folder, screen.say)
    finished = folder.read_trials()
    sampler = open_sampler(
        options,
        typed.space,
        conditions=conditions,
        likelihood=planner.likelihood,
        objective=objective,
        folder=folder,
        config=config,
        num_finished=len(finished),
        work=work_of(
            settings,
            environment=environment,
            num_parameters=planner.num_parameters(settings),
            folder=folder,
        ),
    )
    screen.say(headline(settings, folder))
    shown = shown_budget(budget, options)
    with screen.busy("looking at what can work on this machine"):
        if not study_document(folder):
            # After all that can be wrong with what was typed.
            write_study(
                folder,
                options=options,
                storage=storage_as_typed(config, options),
                typed=typed,
                config=config_now,
                environment=environment,
            )
        planner.look_from(machine, [*evidence.peaks, *finished])
        sampler.learn(evidence)
        for trial in finished:
            sampler.replay(trial)
        ruled_out = known_ruled_out(folder) if resuming else None
        if ruled_out is None:
            ruled_out = look_through(planner, typed.space, conditions)
            write_ruled_out(folder, ruled_out)
        outlook = study_plan(
            settings,
            typed.space,
            planner=planner,
            machine=machine,
            environment=environment,
            ruled_out=ruled_out,
            budget=shown,
        )
    screen.plan(outlook)
    if resuming:
        screen.say(f"going on with {len(finished)} finished trials")
    ensure_ops(found.ops, accelerator=accelerator, say=screen.say)

    if earlier:
        screen.say(what_is_learned(options["warm_start"], earlier, sampler.holds))
        for line in left_out(StudyFolder(Path(str(options["warm_start"])))):
            screen.say(f"note: {line}")
    if objective.takes_floor_of_baseline:
        screen.say(
            "note: the floor is the baseline's tokens/s; should the baseline fail, the least memory wins "
            "however slow it is; type objective.throughput_floor=<tokens/s> for a floor of your own"
        )
    for group, why in useless.items():
        screen.say(f"note: {group} is not searched: {why}")
    if found.other_training:
        screen.say(
            f"note: candidates that differ in {' or '.join(found.other_training)} train something else: "
            "they are ranked by speed alone, and their losses are not held against the baseline's"
        )
    on_hardware = filter(None, [note_on_hardware(typed.fixed)])
    for note in (*on_hardware, *plan(settings, machine).notes, *notes_on_model(settings)):
        screen.say(f"note: {note}")
    for disturbance in what_disturbs(devices_of(accelerator, settings.hardware.ranks)):
        screen.say(f"note: {disturbance}")
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=hydra_context, task_function=task_function, config=without_password(config)
    )
    interrupts = Interrupts(screen.acknowledge)
    jobs = JobRunner(launcher, typed.fixed, machine, folder, screen, planner)
    measured.are(finished, jobs.trials, objective)
    study = Study(
        sampler=sampler,
        plan=planner.plan,
        runner=followed.following(jobs),
        budget=budget,
        clock=time.monotonic,
        objective=objective,
        seeds=lambda: seeds(
            typed.space,
            baseline,
            likelihood=planner.likelihood,
            count=min(int(options["n_seeds"]), budget.trials // 2),
        ),
        must_end=interrupts.must_end,
    )
    before = State(budget=shown, objective=objective, baseline=baseline)
    model = settings.model.get("name", settings.model_target)
    followed.begin(folder, {"model": model, **environment}, finished)
    with followed, interrupts:
        with screen.study(functools.reduce(ended, finished, before)):
            result = study.run(baseline, finished=finished, pending=pending, lost=lost)
            check_owned()
            result = play_finals(result, folder, screen, objective, options, interrupts)
        check_owned()
        interrupts.writing()
        return conclude(
            result, folder, screen, objective, planner, typed.space, storage=options.get("storage")
        )


class _Measured:
    """What a study has, where its folder is gone and there is no place for a report."""

    def __init__(self) -> None:
        self._before: Sequence[Trial] = ()
        self._since: Sequence[Trial] = ()
        self._objective = THROUGHPUT

    def are(self, before: Sequence[Trial], since: Sequence[Trial], objective: Objective) -> None:
        """``since`` grows."""
        self._before, self._since, self._objective = before, since, objective

    def in_words(self) -> str:
        """One line of the best."""
        trials = [*self._before, *self._since]
        best = best_trial(trials, self._objective)
        if best is None or not isinstance(best.outcome, Measured):
            return "nothing was measured before that"
        rate = format_rate(best.outcome.measurement.tokens_per_second)
        how = " ".join(as_overrides(best.point)) or "your own options"
        return (
            f"the best of {len(trials)} trials was trial {best.number}: {rate} tokens/s with {how}"
        )


def _callbacks(space: SearchSpace, composer: Composer) -> dict[str, dict[str, Any]]:
    if "callbacks" in space.parameters:
        raise UsageError(
            "callbacks=a,b would be searched; type 'callbacks=[tensorboard,mlflow]' for several"
        )
    return callbacks_of(composer.config(()))


def _look(found: Composed) -> tuple[Machine, Mapping[str, Any]]:
    """The machine and its environment, while all models that are asked for are tried.

    What starts trials loads beside both, where its ops are there to be loaded.
    Raises UsageError for a model that does not work, EnvironmentUnfit.
    """
    settings = found.settings
    starter = runner(settings.launch.runner)
    ready = plan(settings, quick_look()).ready
    if isinstance(ready, TrialSpec) and are_built(found.ops):
        starter.prepare(ready)
    try:
        with ThreadPoolExecutor(1) as beside:
            look = beside.submit(thorough_look, settings.hardware.accelerator)
            for each in found.every:
                check_model(each)
            return look.result()
    except BaseException:
        starter.close()
        raise


def _plain(value: Any) -> Any:
    if isinstance(value, DictConfig | ListConfig):
        return OmegaConf.to_container(value, resolve=True)
    return value
