"""The studies whose reports are opened: a whole one, and those that a report may stumble over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import Crashed, Outcome, OutOfMemory, Stopped
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


# The default study's options, each value with what its group sets.
STANDARD: dict[str, dict[str, dict[str, Any]]] = {
    "zero": {f"stage{n}": {"zero.stage": n} for n in range(4)},
    "offload": {
        "none": {"offload.optimizer": "none", "offload.params": "none"},
        "optimizer": {"offload.optimizer": "cpu", "offload.params": "none"},
        "optimizer_and_params": {"offload.optimizer": "cpu", "offload.params": "cpu"},
    },
    "precision": {mode: {"precision.mode": mode} for mode in ("fp32", "bf16", "autocast_bf16")},
    "batch.micro_size": {str(n): {"batch.micro_size": n} for n in (1, 2, 4, 8, 16)},
    "checkpointing": {
        name: {"checkpointing.every_nth_block": n} for n, name in enumerate(("none", "full"))
    },
}


def standard() -> list[Trial]:
    """Numbers and words as long as they come; one that trains differently and was stopped."""
    trials = []
    for number in range(18):
        point = {name: [*values][number % len(values)] for name, values in STANDARD.items()}
        own = {s: v for name, word in point.items() for s, v in STANDARD[name][word].items()}
        rate, peak = 119_000.0 + 1111 * number, (980 - number) * 2**20
        outcome: Outcome = measured(rate, peak_bytes=peak, spread=0.12)
        if number == 10:
            other = measured(rate, peak_bytes=peak, losses=(6.2, 5.0, 4.0, 3.0)).measurement
            outcome = Stopped(measurement=other, reason="clearly beaten")
        if number % 5 == 4:
            outcome = OutOfMemory(memory="host", phase="warm-up", reason="needs 99 GiB")
        made = trial_of(number, outcome, point=point)
        trials.append(replace(made, settings={**made.settings, **own}))
    return trials


# More words, and more numbers, than there are colours.
MANY: dict[str, list[str]] = {
    "ds.word": [f"word{n}" for n in range(11)],
    "launch.omp_threads": [str(n) for n in range(1, 11)],
}


def many() -> list[Trial]:
    """The first words more often than the others."""
    trials = []
    for number in range(40):
        word = MANY["ds.word"][number % 11 if number < 22 else number % 4]
        threads = 1 + number % 10
        made = trial_of(
            number,
            measured(1000.0 + number),
            point={"ds.word": word, "launch.omp_threads": str(threads)},
            **{"launch.omp_threads": threads},
        )
        trials.append(replace(made, settings={**made.settings, "ds.word": word}))
    return trials


STUDIES: dict[str, Callable[[Path], StudyFolder]] = {
    "full": full_study,
    "small": small_study,
    "failed": lambda path: recorded(path, failed(), study_name="failed", space=SPACE),
    "single": lambda path: recorded(path, [at(0, measured(100.0))], study_name="one", space=SPACE),
    "grid": lambda path: recorded(path, [replace(t, point={}) for t in small()]),
    "crowd": lambda path: recorded(path, crowd(1000), study_name="crowd", space=SPACE),
    "standard": lambda path: recorded(
        path, standard(), study_name="standard", space={n: [*v] for n, v in STANDARD.items()}
    ),
    "many": lambda path: recorded(path, many(), study_name="many", space=MANY),
    "hostile": lambda path: recorded(
        path, hostile(), study_name=EVIL, space={EVIL: [EVIL, "x"]}, stop_reason=EVIL
    ),
}
