"""One run of a specification on devices that nobody else has meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sweeper.core.files import read_json
from sweeper.core.folder import TrialFolder
from sweeper.core.outcome import Outcome
from sweeper.core.spec import TrialSpec
from sweeper.core.whole_config import section
from sweeper.run.exclusive import device_memory_used, exclusive, wait_until_drained
from sweeper.run.launch import devices_of
from sweeper.run.ops import ensure_ops
from sweeper.run.runners import runner
from sweeper.run.study_lock import check_owned
from sweeper.terminal import Terminal


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """``started_at`` is seconds since 1970, ``environment`` what the ranks saw."""

    outcome: Outcome
    started_at: float
    wall_seconds: float
    environment: Mapping[str, Any]


@contextmanager
def attempt(
    spec: TrialSpec,
    folder: TrialFolder,
    *,
    runner_name: str,
    number: int,
    overrides: Sequence[str],
    terminal: Terminal,
) -> Iterator[Attempt]:
    """Runs it, and gives what came of it to be written down before device memory is waited for.

    Raises StudyGone where there is no place any more to write it down.
    """
    check_owned()
    ensure_ops(spec.ops, accelerator=spec.accelerator, say=terminal.say)
    devices = devices_of(spec.accelerator, spec.ranks)
    with exclusive(devices, terminal.say):
        used_before = device_memory_used(devices)
        started_at, start = time.time(), time.monotonic()
        with terminal.trial_in_hand(number, overrides) as watch:
            outcome = runner(runner_name).run(spec, folder, watch)
        wall_seconds = time.monotonic() - start
    check_owned()
    yield Attempt(
        outcome=outcome,
        started_at=started_at,
        wall_seconds=wall_seconds,
        environment=section(read_json(folder.result(0)), "environment"),
    )
    wait_until_drained(used_before, terminal.say, sleep=time.sleep)
