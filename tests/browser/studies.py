"""The studies whose reports are opened: a whole one, and those that a report may stumble over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import Crashed, OutOfMemory
from sweeper.core.trial import Trial
from tests.recorded import SPACE, at, crowd, full_study, recorded, small, small_study
from tests.support import measured, trial_of

EVIL = """</script><script>alert(1)</script><img src=x onerror=alert(2)>"'`&<b>\u2028|[x](javascript:3)"""


def failed() -> list[Trial]:
    crash = Crashed(reason="rank 0 died", evidence="Traceback\nRuntimeError: no", exit_code=1)
    oom = OutOfMemory(memory="host", phase="build", reason="needs 9 GiB")
    return [at(0, crash), at(1, oom, **{"zero.stage": 1}), at(2, crash, **{"zero.stage": 2})]


def hostile() -> list[Trial]:
    """Everything that a user names, as a user should not."""
    crash = Crashed(reason=EVIL, evidence=EVIL, exit_code=1)
    trials = [
        trial_of(0, measured(100.0), **{"model.name": EVIL}),
        trial_of(1, measured(200.0), **{"model.name": EVIL, "zero.stage": 1}),
        trial_of(2, crash, **{"model.name": EVIL, "zero.stage": 2}),
    ]
    odd: dict[str, Any] = {
        "point": {EVIL: EVIL},
        "overrides": (EVIL,),
        "notes": (EVIL,),
        "environment": {EVIL: EVIL},
    }
    return [replace(trial, **odd) for trial in trials]


STUDIES: dict[str, Callable[[Path], StudyFolder]] = {
    "full": full_study,
    "small": small_study,
    "failed": lambda path: recorded(path, failed(), study_name="failed", space=SPACE),
    "single": lambda path: recorded(path, [at(0, measured(100.0))], study_name="one", space=SPACE),
    "grid": lambda path: recorded(path, [replace(t, point={}) for t in small()]),
    "crowd": lambda path: recorded(path, crowd(1000), study_name="crowd", space=SPACE),
    "hostile": lambda path: recorded(
        path, hostile(), study_name=EVIL, space={EVIL: [EVIL, "x"]}, stop_reason=EVIL
    ),
}
