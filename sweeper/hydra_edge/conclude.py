"""How a study ends: its finals, its report, and what to type next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sweeper.core.contest_record import read_contest
from sweeper.core.equivalence import best_trial
from sweeper.core.finalists import Contest, finalists_of
from sweeper.core.folder import StudyFolder
from sweeper.core.objective import Objective
from sweeper.core.outcome import Measured
from sweeper.core.standing import Standing, standing
from sweeper.core.study import StudyResult
from sweeper.core.trial import Trial
from sweeper.errors import Interrupted, NothingMeasured, SweeperError
from sweeper.hydra_edge.planner import Planner
from sweeper.hydra_edge.study_file import read_study
from sweeper.run.finalists import run_contest
from sweeper.run.interrupts import Interrupts
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
    try:
        _measure_finalists(result.trials, folder, terminal, objective, options, interrupts)
    except KeyboardInterrupt:
        return replace(result, interrupted=True)
    return result


def conclude(
    result: StudyResult,
    folder: StudyFolder,
    terminal: Terminal,
    objective: Objective,
    planner: Planner,
) -> StudyResult:
    """Writes the report and says what it found.

    Raises Interrupted, NothingMeasured, or SweeperError where one trial after the other crashed.
    """
    from sweeper.report.build import build_report

    finals = read_contest(folder.finalists)
    how = standing(result.trials, objective, finals and finals[1])
    if result.trials:
        with terminal.busy("writing the report"):
            if how.winner is not None:
                planner.look_ahead(how.winner, folder)
            found = build_report(folder, stop_reason=result.stop_reason)
        terminal.conclude(found)
        terminal.conclude(_what_next(how, folder, result))
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


def _what_next(how: Standing, folder: StudyFolder, result: StudyResult) -> str:
    return next_steps(
        how,
        folder,
        arguments=(read_study(folder) or {}).get("arguments", ()),
        interrupted=result.interrupted,
        width=result_width(),
    )


def _measure_finalists(
    trials: Sequence[Trial],
    folder: StudyFolder,
    terminal: Terminal,
    objective: Objective,
    options: Mapping[str, Any],
    interrupts: Interrupts,
) -> None:
    contest = contest_of(trials, objective, options)
    if contest is None:
        return
    terminal.say(f"measuring trials {', '.join(map(str, contest.entrants))} again, in turns")
    run_contest(
        contest,
        folder,
        rounds=folder.finalists,
        terminal=terminal,
        between=interrupts.end_where_asked,
    )


def contest_of(
    trials: Sequence[Trial], objective: Objective, options: Mapping[str, Any]
) -> Contest | None:
    """The best few and the baseline once more; None where it is not speed that decides."""
    best = finalists_of(trials, int(options["finalists"]), objective)
    baseline = trials[0].number if isinstance(trials[0].outcome, Measured) else None
    ranks = {trials[n].settings["hardware.ranks"] for n in best}
    by_speed = objective.kind in ("throughput", "time_to_target") or (
        objective.kind == "cost" and len(ranks) == 1
    )
    if not by_speed or set(best) <= {baseline}:
        return None
    return Contest(finalists=best, baseline=baseline, max_rounds=int(options["finalist_rounds"]))
