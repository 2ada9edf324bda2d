"""A contest of finalists on disk: the rounds are the facts, the summary is derived from them."""

from __future__ import annotations

from typing import Any

from sweeper.core.files import read_json, write_json
from sweeper.core.finalists import (
    Contest,
    FinalistsResult,
    complete_rounds,
    judge,
)
from sweeper.core.folder import RoundsFolder
from sweeper.core.rounds import Round, peak_bytes, throughput_ratio

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
    """Judged anew from the rounds; None where there was no contest, or one of another version."""
    document = read_json(folder.summary)
    if not isinstance(document, dict) or document.get("schema_version") != SUMMARY_SCHEMA:
        return None
    given = document["contest"]
    contest = Contest(**(given | {"finalists": tuple(given["finalists"])}))
    return contest, judge(contest, complete_rounds(contest, recorded_rounds(folder)))


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
