"""A contest of finalists on disk: the rounds are the facts, the summary is derived from them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sweeper.core.files import read_json, write_json
from sweeper.core.finalists import Contest, FinalistsResult, complete_rounds, judge
from sweeper.core.folder import WHAT_TO_DO, RoundsFolder
from sweeper.core.objective import THROUGHPUT, objective_from_mapping
from sweeper.core.rounds import Round, peak_bytes, throughput_ratio
from sweeper.errors import UsageError

SUMMARY_SCHEMA = 1


def recorded_rounds(folder: RoundsFolder) -> list[Round]:
    """What became of each trial in each round that has begun."""
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


def read_contest(folder: RoundsFolder) -> tuple[Contest, FinalistsResult] | None:
    """Judged anew from the rounds; None where no contest has ended.

    Raises UsageError where the summary cannot be read, or tells of rounds that are not there.
    """
    document: Any = read_json(folder.summary)
    if document is None and not folder.summary.exists():
        return None
    try:
        contest = _contest_of(document)
        told = {entrant["trial"]: entrant["rounds"] for entrant in document["trials"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{folder.summary}: not whole, or written by another version of sweeper ({error}); "
            f"{WHAT_TO_DO}"
        ) from error
    rounds = recorded_rounds(folder)
    if any(sum(n in found for found in rounds) < num for n, num in told.items()):
        raise UsageError(
            f"{folder.path}: rounds that {folder.summary.name} tells of are missing; {WHAT_TO_DO}"
        )
    return contest, judge(contest, complete_rounds(contest, rounds))


def _contest_of(document: Any) -> Contest:
    if document["schema_version"] != SUMMARY_SCHEMA:
        raise ValueError(f"schema_version={document['schema_version']}")
    given = document["contest"]
    values = given.get("objective")  # those from before there was one were about throughput
    objective = objective_from_mapping(values) if values else THROUGHPUT
    return Contest(**given | {"finalists": tuple(given["finalists"]), "objective": objective})


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
