"""The trials of a study as a table: one row for each, typed as its columns are described."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from sweeper.core.equivalence import LossDifference, loss_differences
from sweeper.core.measurement import Measurement
from sweeper.core.outcome import kind_of, measurement_of, reason_of
from sweeper.core.trial import Trial
from sweeper.report.columns import Column, columns_of
from sweeper.report.utilization import model_flops_utilization

# Always shown, whether or not they vary; what else varies comes behind them.
MAIN_SETTINGS = (
    "zero.stage",
    "offload.optimizer",
    "offload.params",
    "precision.mode",
    "batch.micro_size",
    "checkpointing.every_nth_block",
)

# It acts only in fp16, where it is the same for all, and would be shown wherever fp16 was tried.
NEVER_SHOWN = "precision.fp16_initial_scale_power"

PARTS = ("forward", "backward", "optimizer", "rest")
LEDGER = (
    "device_peak_active_bytes",
    "device_used_bytes",
    "host_proportional_bytes",
    "host_pinned_bytes",
    "cgroup_peak_bytes",
)


def trials_table(studies: Mapping[str, Sequence[Trial]]) -> pd.DataFrame:
    """One row for each trial, in the columns of ``report/columns.py``; study by study, by name."""
    trials = [trial for of_study in studies.values() for trial in of_study]
    settings = (*MAIN_SETTINGS, *other_varying_settings(trials))
    rows = []
    for study, of_study in studies.items():
        differences = loss_differences(of_study)
        rows += [_row(study, t, settings, differences.get(t.number)) for t in of_study]
    columns = columns_of(settings, [trial.settings for trial in trials])
    assert not rows or list(rows[0]) == [column.name for column in columns]
    return pd.DataFrame({c.name: _series(c, [row[c.name] for row in rows]) for c in columns})


def other_varying_settings(trials: Sequence[Trial]) -> list[str]:
    """Settings beside the main ones in which these trials differ."""
    names = dict.fromkeys(name for trial in trials for name in trial.settings)
    return [
        name
        for name in names
        if name not in MAIN_SETTINGS
        and name != NEVER_SHOWN
        and len({repr(trial.settings.get(name)) for trial in trials}) > 1
    ]


def _series(column: Column, values: Sequence[Any]) -> pd.Series:
    checked = [column.checked(value) for value in values]
    if column.dtype.startswith("datetime"):
        return pd.to_datetime(pd.Series(checked, dtype="float64"), unit="s", utc=True).dt.round(
            "ms"
        )
    return pd.Series(checked, dtype=column.dtype)


def _largest(m: Measurement, name: str) -> int | None:
    """Over ranks and phases."""
    values = [phase.get(name) for rank in m.memory for phase in rank.values()]
    known = [value for value in values if value is not None]
    return max(known) if known else None


def _row(
    study: str, trial: Trial, settings: Sequence[str], difference: LossDifference | None
) -> dict[str, object]:
    row: dict[str, object] = {
        "study": study,
        "trial": trial.number,
        "outcome": kind_of(trial.outcome),
        "reason": reason_of(trial.outcome),
    }
    row |= {name: trial.settings.get(name) for name in settings}
    m = measurement_of(trial.outcome)
    row |= {
        "tokens_per_second_median": m and m.tokens_per_second,
        "tokens_per_second_mad": m and m.tokens_per_second_mad,
        "tokens_per_second_low": m and m.tokens_per_second_interval.low,
        "tokens_per_second_high": m and m.tokens_per_second_interval.high,
        "samples_per_second_median": m and m.samples_per_second,
        "step_seconds_median": m and m.median_step_seconds,
        "measured_steps": m and len(m.step_seconds),
        "skipped_steps": m and m.skipped_steps,
        **{f"{part}_seconds": m and m.breakdown.get(part) for part in PARTS},
        "tflops_per_device": m and m.tflops_per_device,
        "mfu": model_flops_utilization(trial),
        "loss_difference": difference and difference.largest,
        "trains_differently": difference and difference.trains_differently,
        "peak_device_allocated_bytes": m and m.peak_device_allocated_bytes,
        "peak_device_reserved_bytes": m and m.peak_device_reserved_bytes,
        "peak_host_resident_bytes": m and m.peak_host_resident_bytes,
        **{name: m and _largest(m, name) for name in LEDGER},
        "memory_limit_bytes": trial.memory_limit_bytes,
        "alloc_retries": m and m.alloc_retries,
        "wall_seconds": trial.wall_seconds,
        "started_at": trial.started_at or None,
        "environment": _environment(trial.environment),
        "notes": "; ".join(trial.notes),
        "overrides": " ".join(trial.overrides),
    }
    return row


def _environment(environment: Mapping[str, Any]) -> str:
    """What numbers depend on; a machine of the same kind is as good, so its name is left out."""
    return "; ".join(
        f"{name} {value}"
        for name, value in environment.items()
        if name != "host" and value is not None
    )
