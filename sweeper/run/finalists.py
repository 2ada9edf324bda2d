"""Runs trials of a study again, in turns, each in fresh processes."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from sweeper.core.contest_record import recorded_rounds, write_contest
from sweeper.core.files import make_way, remove, write_json
from sweeper.core.finalists import Contest, FinalistsResult, complete_rounds, play
from sweeper.core.folder import RoundsFolder, StudyFolder, TrialFolder
from sweeper.core.outcome import Outcome, measurement_of
from sweeper.core.rounds import Round
from sweeper.core.spec import TrialSpec
from sweeper.core.trial import Trial
from sweeper.run.attempt import attempt
from sweeper.run.kept import spec_of
from sweeper.run.processes import Family
from sweeper.run.study_record import how_it_stands
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

    A round that is not whole is run again, whatever follows it. Raises UsageError where a trial cannot be.
    """
    trials = {t.number: t for t in how_it_stands(study).trials if t.number in contest.entrants}
    specs = {number: spec_of(study, trials[number]) for number in contest.entrants}
    recorded = recorded_rounds(rounds)
    make_way(rounds.summary)
    rounds.summary.unlink(missing_ok=True)  # of what is to be measured anew
    _forget(rounds, after=_num_kept(contest, recorded))

    terminal.contest(contest)

    def measure(number: int, round_number: int) -> Outcome:
        between()
        terminal.expect_final(trials[number], round_number)
        own = rounds.trial(round_number, number)
        _clear(own)
        trial = again(trials[number], specs[number], own, terminal)
        terminal.finished_final(trial, round_number)
        return trial.outcome

    result = play(contest, measure, recorded[: _num_kept(contest, recorded)])
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


def _num_kept(contest: Contest, recorded: Sequence[Round]) -> int:
    """Up to the last round of this contest: of those before it one may have lost a record."""
    whole = len(complete_rounds(contest, recorded))
    own = [
        n
        for n, found in enumerate(recorded, start=1)
        if found and set(found) <= {*contest.entrants}
    ]
    return max([whole, *own])


def _forget(rounds: RoundsFolder, *, after: int) -> None:
    """Ends and removes what an interrupted run, or a contest of others, has left."""
    for path in sorted(rounds.path.glob("round-*")):
        if path.name[6:].isdecimal() and int(path.name[6:]) > after:
            for folder in path.iterdir():
                _clear(TrialFolder(folder))
            shutil.rmtree(path)


def _clear(folder: TrialFolder) -> None:
    if folder.path.exists():
        Family(folder.mark, list).end()
        remove(folder.path)
