"""A short run of a user's script, to see what it trains and what it takes from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sweeper.core.enough import MIN_MEASURED_STEPS
from sweeper.core.files import read_json
from sweeper.core.folder import TrialFolder
from sweeper.core.outcome import Measured, Outcome
from sweeper.core.spec import TrialSpec
from sweeper.run.attempt import attempt
from sweeper.terminal import Terminal


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """``facts`` are those of ``worker.script.facts``; empty where the run did not come to an end."""

    outcome: Outcome
    facts: Mapping[str, Any]


def probe(spec: TrialSpec, folder: TrialFolder, *, runner_name: str, terminal: Terminal) -> Probed:
    """Some optimizer steps of the script: one to come to rest, and as many as a trial times at least."""
    spec = replace(
        spec,
        min_warmup_steps=1,
        max_warmup_steps=1,
        min_steps=MIN_MEASURED_STEPS,
        max_steps=MIN_MEASURED_STEPS,
        breakdown_steps=0,
        beaten_step_seconds=None,
        # Before the probe the batch is a guess.
        accumulation_steps=max(spec.accumulation_steps, 1),
    )
    with attempt(
        spec,
        folder,
        runner_name=runner_name,
        number=0,
        overrides=("probe", folder.path.name),
        terminal=terminal,
    ) as attempted:
        outcome = attempted.outcome
    result = read_json(folder.result(0)) if isinstance(outcome, Measured) else None
    return Probed(outcome=outcome, facts=(result or {}).get("script", {}))
