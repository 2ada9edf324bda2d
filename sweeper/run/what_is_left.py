"""What a verification says of a study's gain: it holds, it is gone, or it cannot be told."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.core.finalists import SAME_MEMORY, FinalistsResult
from sweeper.core.objective import BEATEN_BY
from sweeper.core.outcome import Measured, Outcome, Unsupported
from sweeper.core.quantities import format_bytes
from sweeper.core.ratios import ratio_of
from sweeper.core.rounds import Round, log_over_floor, peak_bytes
from sweeper.core.trial import Trial
from sweeper.errors import EnvironmentUnfit, GainGone, SweeperError
from sweeper.run.claim import Claim, gain_of

_GONE = "the gain is gone"


def conclusion(claim: Claim, result: FinalistsResult) -> str:
    """One sentence where the gain holds.

    Raises GainGone with one where it does not, EnvironmentUnfit where the baseline no longer runs.
    """
    winner, baseline = claim.winner, claim.baseline
    _check_both_ran(claim, result)
    gain = gain_of(claim.objective, result.rounds, winner.number, baseline.number)
    assert gain is not None  # nobody failed, so there are rounds enough
    told = f"{gain} times the baseline's {_what_decides(claim)}, {claim.was}"
    least = claim.objective.kind == "memory"
    if gain.low > 1 if least else gain.high < 1:
        raise GainGone(f"{_GONE}, trial {winner.number} {_worse(claim)}: {told}")
    if gain.high >= 1 if least else gain.low <= 1:
        raise GainGone(f"{_GONE}, what is left is not told from noise: {told}")
    if least:
        told += _at_the_floor(claim, result.rounds)
    if claim.objective.kind == "pareto":
        told += _with_its_memory(claim, result.rounds)
    return f"the gain holds: {told}"


def winner_failed(winner: Trial, outcome: Outcome, why: str) -> SweeperError:
    """What it lacks on this machine is no fault of the winner's."""
    if isinstance(outcome, Unsupported):
        return EnvironmentUnfit(
            f"cannot be told: the winner (trial {winner.number}) cannot run here, {why}"
        )
    return GainGone(f"{_GONE}: the winner (trial {winner.number}) failed, {why}")


def _check_both_ran(claim: Claim, result: FinalistsResult) -> None:
    winner, baseline = claim.winner, claim.baseline
    if baseline.number in result.failed:
        both = ", and so did the winner" if winner.number in result.failed else ""
        raise EnvironmentUnfit(
            f"cannot be told: the baseline (trial {baseline.number}), which the gain is over, failed"
            f"{both}: {result.failed[baseline.number]}; type python -m sweeper doctor"
        )
    if winner.number in result.failed:
        outcomes = (found.get(winner.number) for found in result.rounds)
        failed = next(o for o in outcomes if o is not None and not isinstance(o, Measured))
        raise winner_failed(winner, failed, result.failed[winner.number])


def _what_decides(claim: Claim) -> str:
    return {"memory": "peak memory", "cost": "tokens/s for each rank"}.get(
        claim.objective.kind, "tokens/s"
    )


def _worse(claim: Claim) -> str:
    return {"memory": "now needs more", "cost": "is now the dearer one"}.get(
        claim.objective.kind, "is now the slower one"
    )


def _at_the_floor(claim: Claim, rounds: Sequence[Round]) -> str:
    """Whose noise may hide a little of it, not as much as would clearly be beaten."""
    over = log_over_floor(
        rounds, claim.winner.number, claim.objective, baseline=claim.baseline.number
    )
    ratio = ratio_of(over)
    if ratio is None:
        return ""
    told = f"at {ratio} times {_floor(claim)}"
    if ratio.high < 1:
        raise GainGone(f"{_GONE}, trial {claim.winner.number} is below the floor now: {told}")
    if ratio.low < 1 - BEATEN_BY:
        raise GainGone(f"{_GONE}, whether the floor is kept is not told from noise: {told}")
    return f"; {told}"


def _floor(claim: Claim) -> str:
    typed = claim.objective.throughput_floor
    return f"the {typed:g} tokens/s it is to give" if typed else "the baseline's tokens/s"


def _with_its_memory(claim: Claim, rounds: Sequence[Round]) -> str:
    now = peak_bytes(rounds, claim.winner.number) or 0
    told = f"peak memory {format_bytes(now)}, was {format_bytes(claim.peak_bytes)}"
    if now > claim.peak_bytes * (1 + SAME_MEMORY):
        raise GainGone(f"{_GONE}, trial {claim.winner.number} now needs more: {told}")
    return f"; {told}"
