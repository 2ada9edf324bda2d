"""How a study ends: its finals, its report, and what to type next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sweeper.core.contest_record import read_contest
from sweeper.core.entrants import finalists_of
from sweeper.core.equivalence import best_trial
from sweeper.core.finalists import Contest
from sweeper.core.folder import StudyFolder
from sweeper.core.objective import Objective
from sweeper.core.outcome import Measured
from sweeper.core.space import SearchSpace, identity
from sweeper.core.standing import Standing, standing
from sweeper.core.study import StudyResult
from sweeper.core.trial import Trial
from sweeper.errors import Interrupted, NothingMeasured, SweeperError
from sweeper.hydra_edge.planner import Planner
from sweeper.run.finalists import run_contest
from sweeper.run.interrupts import Interrupts
from sweeper.run.study_record import study_document
from sweeper.terminal import Terminal, next_steps, result_width


def play_finals(
    result: StudyResult,
    folder: StudyFolder,
    terminal: Terminal,
    objective: Objective,
    options: Mapping[str, Any],
    interrupts: Interrupts,
) -> StudyResult:
    """The result, interrupted where the user ended the finals."""
    terminal.say(f"stopped: {result.stop_reason}")
    best = best_trial(result.trials, objective)
    if best is None or result.interrupted or result.broken:
        return result
    contest = contest_of(result.trials, objective, options)
    if contest is None:
        return result
    terminal.say(f"measuring trials {', '.join(map(str, contest.entrants))} again, in turns")
    try:
        run_contest(
            contest,
            folder,
            rounds=folder.finalists,
            terminal=terminal,
            between=interrupts.end_where_asked,
        )
    except KeyboardInterrupt:
        return replace(result, interrupted=True)
    return result


def conclude(
    result: StudyResult,
    folder: StudyFolder,
    terminal: Terminal,
    objective: Objective,
    planner: Planner,
    space: SearchSpace,
    *,
    storage: Any = None,
) -> StudyResult:
    """Writes the report and says what it found.

    Raises Interrupted, NothingMeasured, or SweeperError where one trial after the other crashed.
    """
    from sweeper.report.build import build_report
    from sweeper.report.failures import Failures

    finals = read_contest(folder.finalists, objective=objective)
    how = standing(result.trials, objective, finals and finals[1])
    if result.trials:
        with terminal.busy("writing the report"):
            failures = Failures(folder).begin()
            if (winner := how.winner) is not None:
                failures.attempt(
                    "what the winner needs at the longest sequence",
                    lambda: planner.look_ahead(winner, folder),
                    None,
                )
            found = build_report(
                folder, stop_reason=result.stop_reason, failures=failures, storage=storage
            )
        terminal.conclude(found)
        terminal.conclude(_what_next(how, folder, result, space))
    if result.interrupted:
        num = len(result.trials)
        trials = "1 trial; it is" if num == 1 else f"{num} trials; they are"
        raise Interrupted(f"interrupted after {trials} in {folder.path}")
    if result.broken:
        raise SweeperError(f"the study was stopped: {result.stop_reason.splitlines()[0]}")
    if best_trial(result.trials, objective) is None:
        raise NothingMeasured(
            f"no trial of {len(result.trials)} was measured; {folder.report} says why each failed"
        )
    return result


def _what_next(how: Standing, folder: StudyFolder, result: StudyResult, space: SearchSpace) -> str:
    return next_steps(
        how,
        folder,
        arguments=study_document(folder).get("arguments", ()),
        interrupted=result.interrupted,
        stop_reason=None if result.interrupted or result.broken else result.stop_reason,
        nothing_left=_is_all_tried(space, result.trials),
        width=result_width(),
    )


def _is_all_tried(space: SearchSpace, trials: Sequence[Trial]) -> bool:
    tried = {identity(trial.point) for trial in trials}
    if space.size is None or space.size > len(tried):
        return False
    return all(identity(point) in tried for point in space.points())


def contest_of(
    trials: Sequence[Trial], objective: Objective, options: Mapping[str, Any]
) -> Contest | None:
    """The best few and the baseline, whatever the study is after; None where there is nobody to compare."""
    best = finalists_of(trials, int(options["finalists"]), objective)
    baseline = trials[0].number if isinstance(trials[0].outcome, Measured) else None
    if set(best) <= {baseline}:
        return None
    return Contest(
        finalists=best,
        baseline=baseline,
        objective=objective,
        max_rounds=int(options["finalist_rounds"]),
    )
