"""A contest of finalists on disk: the rounds are the facts, the summary is derived from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sweeper.core.files import seen_json, write_json
from sweeper.core.finalists import Contest, FinalistsResult, complete_rounds, judge, why_stop
from sweeper.core.folder import RoundsFolder
from sweeper.core.objective import THROUGHPUT, Objective, objective_from_mapping
from sweeper.core.rounds import Round, peak_bytes, throughput_ratio
from sweeper.core.shape import check_fields
from sweeper.errors import UsageError

SUMMARY_SCHEMA = 1


def recorded_rounds(folder: RoundsFolder) -> list[Round]:
    """What became of each trial in each round that has begun; what is damaged is left out."""
    return [{n: trial.outcome for n, trial in found.items()} for found in folder.read_rounds()]


def write_contest(folder: RoundsFolder, contest: Contest, result: FinalistsResult) -> None:
    """The summary, beside the folder of the rounds."""
    document = {
        "schema_version": SUMMARY_SCHEMA,
        "contest": {
            "finalists": list(contest.finalists),
            "baseline": contest.baseline,
            "objective": asdict(contest.objective),
            "min_rounds": contest.min_rounds,
            "max_rounds": contest.max_rounds,
        },
        "winner": result.winner,
        "tied_with": list(result.tied_with),
        "runner_up": result.runner_up,
        "gain": result.gain and result.gain.to_json(),
        "lead": result.lead and result.lead.to_json(),
        "stop_reason": result.stop_reason,
        "trials": [_entrant(number, result) for number in contest.entrants],
    }
    write_json(folder.summary, document)


def read_contest(
    folder: RoundsFolder, *, baseline: int | None = 0, objective: Objective = THROUGHPUT
) -> tuple[Contest, FinalistsResult] | None:
    """Judged anew from the rounds; None where no contest has ended.

    Where its summary is damaged or missing, who took part is taken from the rounds, and
    ``baseline`` and ``objective`` are the study's. A record that is lost costs its trial that round alone.
    """
    seen = seen_json(folder.summary)
    rounds = recorded_rounds(folder)
    contest = _told_by(seen) or _guessed(rounds, baseline, objective)
    if contest is None or not rounds:
        return None
    whole = complete_rounds(contest, rounds)
    if seen is None and not (
        len(rounds) == len(whole) >= contest.min_rounds and why_stop(contest, rounds)
    ):
        return None  # it was interrupted
    if len(whole) < len(rounds):
        own = ({n: o for n, o in found.items() if n in contest.entrants} for found in rounds)
        whole = [found for found in own if found]
    return contest, judge(contest, whole)


def lacking_rounds(folder: RoundsFolder) -> int:
    """How many records of rounds its summary tells of that are not there."""
    document: Any = seen_json(folder.summary)
    try:
        told = {int(entrant["trial"]): int(entrant["rounds"]) for entrant in document["trials"]}
    except (ValueError, KeyError, TypeError, AttributeError):
        return 0
    rounds = recorded_rounds(folder)
    return sum(max(num - sum(n in found for found in rounds), 0) for n, num in told.items())


def _told_by(summary: Any) -> Contest | None:
    try:
        return _contest_of(summary)
    except (ValueError, KeyError, TypeError, AttributeError, UsageError):
        return None


def _guessed(rounds: Sequence[Round], baseline: int | None, objective: Objective) -> Contest | None:
    seen = dict.fromkeys(number for found in rounds for number in found)
    finalists = tuple(n for n in seen if n != baseline)
    if not finalists:
        return None
    return Contest(
        finalists=finalists, baseline=baseline if baseline in seen else None, objective=objective
    )


def _contest_of(document: Any) -> Contest:
    if document["schema_version"] != SUMMARY_SCHEMA:
        raise ValueError(f"schema_version={document['schema_version']}")
    given = document["contest"]
    values = given.get("objective")  # those from before there was one were about throughput
    objective = objective_from_mapping(values) if values else THROUGHPUT
    contest = Contest(**given | {"finalists": tuple(given["finalists"]), "objective": objective})
    if not all(isinstance(n, int) for n in contest.entrants):
        raise ValueError("entrants are no numbers")
    check_fields(contest)
    return contest


def _entrant(number: int, result: FinalistsResult) -> dict[str, Any]:
    ratio = throughput_ratio(result.rounds, number, result.winner)
    return {
        "trial": number,
        "rounds": sum(number in found for found in result.rounds),
        "tokens_per_second": result.tokens_per_second(number),
        "spread": result.spread(number),
        "peak_bytes": peak_bytes(result.rounds, number),
        "times_the_winner": ratio.to_json() if ratio and number != result.winner else None,
        "failed": result.failed.get(number),
    }
