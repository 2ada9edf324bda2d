"""``verify``: a study's winner against its baseline once more, later, as a check of the gain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from sweeper.core.finalists import Contest
from sweeper.core.folder import RoundsFolder, StudyFolder
from sweeper.core.machine import Machine
from sweeper.core.outcome import Measured, Unsupported, kind_of, reason_of
from sweeper.core.plan import plan
from sweeper.core.quantities import format_rate
from sweeper.core.settings import settings_from_flat
from sweeper.core.trial import Trial
from sweeper.errors import EnvironmentUnfit
from sweeper.run.claim import Claim, claim_of
from sweeper.run.finalists import Again, measure_again, run_contest
from sweeper.run.kept import spec_of
from sweeper.run.left_out import left_out
from sweeper.run.machine import thorough_look
from sweeper.run.study_lock import check_nobody_writes, owned
from sweeper.run.study_record import study_document
from sweeper.run.what_is_left import conclusion, winner_failed
from sweeper.terminal import Terminal

# What ``thorough_look`` tells of the machine, and of the environment.
Look: TypeAlias = Callable[[str], tuple[Machine, Mapping[str, Any]]]

# A machine of the same kind is as good; a rank's threads are its trial's own.
_NOT_COMPARED = ("host", "threads")


def verify(
    typed: str,
    *,
    stamp: str,
    terminal: Terminal,
    look: Look = thorough_look,
    again: Again = measure_again,
) -> str:
    """Runs both in turns, into a folder of the study's named after ``stamp``; returns what holds.

    Raises UsageError and EnvironmentUnfit before anything is run, EnvironmentUnfit where the baseline no
    longer runs, GainGone where the gain is no longer there.
    """
    folder = StudyFolder(Path(typed))
    check_nobody_writes(folder, f"verify {typed}")
    claim = claim_of(folder, typed)
    with owned(folder, what="verify", typed=f"verify {typed}"):
        return _verify(claim, folder, typed, stamp, terminal, look, again)


def _verify(
    claim: Claim,
    folder: StudyFolder,
    typed: str,
    stamp: str,
    terminal: Terminal,
    look: Look,
    again: Again,
) -> str:
    winner, baseline = claim.winner, claim.baseline
    if winner.number == baseline.number:
        return f"the baseline itself (trial {baseline.number}) won this study: nothing to verify"
    to_run = [t for t in (baseline, winner) if t is winner or isinstance(t.outcome, Measured)]
    for line in left_out(folder, winner):
        terminal.conclude(f"note: {line}")
    for trial in to_run:
        spec_of(folder, trial)
    then = study_document(folder).get("environment") or winner.environment
    _check_environment(then, to_run, typed, terminal, look)
    rounds = folder.verification(stamp)
    if not isinstance(baseline.outcome, Measured):
        return _verify_alone(claim, folder, rounds, terminal, again)
    contest = Contest(
        finalists=(winner.number,), baseline=baseline.number, objective=claim.objective
    )
    if claim.objective.kind == "memory":
        # Memory shows at once; whether the floor is kept needs every round.
        contest = replace(contest, min_rounds=contest.max_rounds)
    result = run_contest(contest, folder, rounds=rounds, terminal=terminal, again=again)
    return conclusion(claim, result)


def _check_environment(
    then: Mapping[str, Any], to_run: Sequence[Trial], typed: str, terminal: Terminal, look: Look
) -> None:
    """Says what has changed since the study. Raises EnvironmentUnfit where a trial cannot run here."""
    try:
        machine, now = look(to_run[0].settings["hardware.accelerator"])
    except EnvironmentUnfit as error:
        raise EnvironmentUnfit(
            f"verify {typed}: the study was measured on {then.get('device')}; here {error}"
        ) from error
    if changes := environment_changes(then, now):
        terminal.conclude(f"since the study {'; '.join(changes)}")
    for trial in to_run:
        ready = plan(settings_from_flat(trial.settings), machine).ready
        if isinstance(ready, Unsupported):
            raise EnvironmentUnfit(
                f"verify {typed}: trial {trial.number} cannot run here: {ready.reason}; "
                "type python -m sweeper doctor"
            )


def environment_changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is otherwise than in the study, name by name."""
    return [
        f"{name} was {then.get(name)}, is {now.get(name)}"
        for name in dict.fromkeys([*then, *now])
        if name not in _NOT_COMPARED and then.get(name) != now.get(name)
    ]


def _verify_alone(
    claim: Claim, folder: StudyFolder, rounds: RoundsFolder, terminal: Terminal, again: Again
) -> str:
    """The baseline did not run even then: what can be verified is that the winner does."""
    winner, baseline = claim.winner, claim.baseline
    why = f"the baseline was {kind_of(baseline.outcome)} in the study"
    spec = spec_of(folder, winner)
    found = again(winner, spec, rounds.trial(1, winner.number), terminal).outcome
    if not isinstance(found, Measured):
        raise winner_failed(winner, found, f"{kind_of(found)}: {reason_of(found)}; {why}")
    rate = format_rate(found.measurement.tokens_per_second)
    return (
        f"trial {winner.number} still runs, with {rate} tokens/s; "
        f"{why}, so there is no gain to compare"
    )
