"""Runs trials of a study again, in turns, each in fresh processes."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from sweeper.core.contest_record import recorded_rounds, write_contest
from sweeper.core.files import read_json, write_json
from sweeper.core.finalists import Contest, FinalistsResult, complete_rounds, play
from sweeper.core.folder import RoundsFolder, StudyFolder, TrialFolder
from sweeper.core.outcome import Outcome, measurement_of
from sweeper.core.spec import TrialSpec
from sweeper.core.trial import Trial
from sweeper.errors import UsageError
from sweeper.run.attempt import attempt
from sweeper.run.processes import Family
from sweeper.terminal import Terminal

# ``measure_again``, or what stands for it.
Again: TypeAlias = Callable[[Trial, TrialSpec, TrialFolder, Terminal], Trial]

# A finalist's steps together are this share of the most that a trial is measured, unless they are so many.
_SHARE, _MAX_STEPS = 0.1, 50


def measure_again(trial: Trial, spec: TrialSpec, folder: TrialFolder, terminal: Terminal) -> Trial:
    """The same work once more, in another folder; recorded there under the trial's own number."""
    with attempt(
        _in_earnest(spec, trial),
        folder,
        runner_name=trial.settings["launch.runner"],
        number=trial.number,
        overrides=trial.overrides,
        terminal=terminal,
    ) as attempted:
        again = replace(
            trial,
            outcome=attempted.outcome,
            started_at=attempted.started_at,
            wall_seconds=attempted.wall_seconds,
            environment=attempted.environment,
        )
        write_json(folder.trial, again.to_json())
    return again


def run_contest(
    contest: Contest,
    study: StudyFolder,
    *,
    rounds: RoundsFolder,
    terminal: Terminal,
    between: Callable[[], None] = lambda: None,
    again: Again = measure_again,
) -> FinalistsResult:
    """Goes on with the rounds that are in ``rounds``; writes the summary. Calls ``between`` before each run.

    A trial is repeated from its own folder alone. Raises UsageError where that is not whole.
    """
    trials = {t.number: t for t in study.read_trials() if t.number in contest.entrants}
    specs = {number: read_spec(study.trial(number)) for number in contest.entrants}
    recorded = complete_rounds(contest, recorded_rounds(rounds))
    rounds.summary.unlink(missing_ok=True)  # of what is to be measured anew
    _forget(rounds, after=len(recorded))

    terminal.contest(contest)

    def measure(number: int, round_number: int) -> Outcome:
        between()
        terminal.expect_final(trials[number], round_number)
        trial = again(trials[number], specs[number], rounds.trial(round_number, number), terminal)
        terminal.finished_final(trial, round_number)
        return trial.outcome

    result = play(contest, measure, recorded)
    write_contest(rounds, contest, result)
    return result


def _in_earnest(spec: TrialSpec, trial: Trial) -> TrialSpec:
    """Enough steps to tell near equals apart: a search needs fewer, and a start costs more than they do."""
    m = measurement_of(trial.outcome)
    steps = (
        min(math.ceil(_SHARE * spec.max_seconds / m.median_step_seconds), _MAX_STEPS) if m else 0
    )
    return replace(
        spec,
        min_steps=max(spec.min_steps, steps),
        max_steps=max(spec.max_steps, steps),
        breakdown_steps=0,
    )


def read_spec(folder: TrialFolder) -> TrialSpec:
    """What the trial ran, to its end this time. Raises UsageError where it cannot be run again."""
    document = read_json(folder.spec)
    if not isinstance(document, dict):
        raise UsageError(
            f"{folder.spec}: missing or not whole, so that trial {folder.path.name} cannot be run "
            "again; type python -m sweeper ... hydra/sweeper=optuna for a new study"
        )
    try:
        return replace(TrialSpec.from_json(document), beaten_step_seconds=None)
    except (ValueError, KeyError) as error:
        raise UsageError(
            f"{folder.spec}: written by another version of sweeper ({error}); "
            "type python -m sweeper ... hydra/sweeper=optuna for a new study"
        ) from error


def _forget(rounds: RoundsFolder, *, after: int) -> None:
    """Ends and removes what an interrupted run, or a contest of others, has left."""
    for path in sorted(rounds.path.glob("round-*")):
        if int(path.name.partition("-")[2]) > after:
            for folder in path.iterdir():
                Family(TrialFolder(folder).mark, list).end()
            shutil.rmtree(path)
