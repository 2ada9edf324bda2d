"""``verify``: a study's winner against its baseline once more, later, as a check of the gain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sweeper.core.contest_record import read_contest
from sweeper.core.equivalence import best_trial
from sweeper.core.finalists import Contest, FinalistsResult
from sweeper.core.folder import RoundsFolder, StudyFolder
from sweeper.core.outcome import Measured, kind_of, reason_of
from sweeper.core.quantities import format_rate
from sweeper.core.rounds import throughput_ratio
from sweeper.core.trial import Trial
from sweeper.errors import GainGone, UsageError
from sweeper.run.finalists import measure_again, read_spec, run_contest
from sweeper.terminal import Terminal

_TYPE = "type python -m sweeper verify results/<study>"
# A machine of the same kind is as good.
_NOT_COMPARED = "host"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What the study said: ``was`` is the gain in words."""

    winner: Trial
    baseline: Trial
    was: str


def verify(typed: str, *, stamp: str, terminal: Terminal) -> str:
    """Runs both in turns, into a folder of the study's named after ``stamp``; returns what holds.

    Raises UsageError before anything is run, GainGone where the gain is no longer there.
    """
    folder = StudyFolder(Path(typed))
    claim = claim_of(folder, typed)
    winner, baseline = claim.winner, claim.baseline
    if winner.number == baseline.number:
        return f"the baseline itself (trial {baseline.number}) won this study: nothing to verify"
    rounds = folder.verification(stamp)
    if not isinstance(baseline.outcome, Measured):
        return _verify_alone(claim, folder, rounds, terminal)
    contest = Contest(finalists=(winner.number,), baseline=baseline.number)
    result = run_contest(contest, folder, rounds=rounds, terminal=terminal)
    for note in environment_changes(claim, rounds):
        terminal.say(f"note: {note} since the study")
    return conclusion(claim, result)


def claim_of(folder: StudyFolder, typed: str) -> Claim:
    """The winner of the finals, or of the search where there were none."""
    if not folder.trials.is_dir():
        raise UsageError(f"verify {typed}: there is no study in this folder (no trials/); {_TYPE}")
    trials = {trial.number: trial for trial in folder.read_trials()}
    baseline = trials.get(0)
    if baseline is None:
        raise UsageError(
            f"verify {typed}: the baseline (trial 0) of this study has not ended; go on with it: "
            f"type python -m sweeper resume={typed}"
        )
    finals = read_contest(folder.finalists)
    if finals is not None and finals[1].winner in trials:
        result = finals[1]
        was = f"was {result.gain}" if result.gain else "was not told"
        return Claim(winner=trials[result.winner or 0], baseline=baseline, was=was)
    best = best_trial(list(trials.values()))
    if best is None:
        raise UsageError(
            f"verify {typed}: this study has no winner, none of its {len(trials)} trials was "
            "measured; type python -m sweeper ... hydra/sweeper=optuna for a new one"
        )
    return Claim(winner=best, baseline=baseline, was=_gain_in_the_search(best, baseline))


def _gain_in_the_search(best: Trial, baseline: Trial) -> str:
    if not (isinstance(best.outcome, Measured) and isinstance(baseline.outcome, Measured)):
        return "was not told"
    ratio = (
        best.outcome.measurement.tokens_per_second / baseline.outcome.measurement.tokens_per_second
    )
    return f"was {ratio:.2f} in the search, where each ran once"


def conclusion(claim: Claim, result: FinalistsResult) -> str:
    """One sentence where the gain holds. Raises GainGone with one where it does not."""
    for who, trial in (("winner", claim.winner), ("baseline", claim.baseline)):
        if trial.number in result.failed:
            raise GainGone(
                f"the gain is gone: the {who} (trial {trial.number}) failed, "
                f"{result.failed[trial.number]}"
            )
    gain = throughput_ratio(result.rounds, claim.winner.number, claim.baseline.number)
    assert gain is not None  # nobody failed, so there are rounds enough
    told = f"{gain} times the baseline, {claim.was}"
    if gain.low > 1:
        return f"the gain holds: {told}"
    if gain.high < 1:
        raise GainGone(
            f"the gain is gone, trial {claim.winner.number} is now the slower one: {told}"
        )
    raise GainGone(f"the gain is gone, what is left is not told from noise: {told}")


def environment_changes(claim: Claim, rounds: RoundsFolder) -> list[str]:
    """What the ranks saw then and now, where it differs."""
    now = next((found[0].environment for found in rounds.read_rounds() if 0 in found), {})
    then = claim.baseline.environment
    return [
        f"{name} was {then.get(name)}, is {now.get(name)}"
        for name in dict.fromkeys([*then, *now])
        if name != _NOT_COMPARED and now and then.get(name) != now.get(name)
    ]


def _verify_alone(
    claim: Claim, folder: StudyFolder, rounds: RoundsFolder, terminal: Terminal
) -> str:
    """The baseline did not run even then: what can be verified is that the winner does."""
    winner, baseline = claim.winner, claim.baseline
    why = f"the baseline was {kind_of(baseline.outcome)} in the study"
    spec = read_spec(folder.trial(winner.number))
    again = measure_again(winner, spec, rounds.trial(1, winner.number), terminal)
    if not isinstance(again.outcome, Measured):
        raise GainGone(
            f"the gain is gone: the winner (trial {winner.number}) failed, "
            f"{kind_of(again.outcome)}: {reason_of(again.outcome)}; {why}"
        )
    rate = format_rate(again.outcome.measurement.tokens_per_second)
    return (
        f"trial {winner.number} still runs, with {rate} tokens/s; "
        f"{why}, so there is no gain to compare"
    )
