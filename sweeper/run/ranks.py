"""From what each rank wrote to the outcome of the trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sweeper.core.measurement import Measurement
from sweeper.core.memory_errors import memory_that_ran_out
from sweeper.core.one_line import one_line
from sweeper.core.outcome import (
    Crashed,
    Diverged,
    Measured,
    Outcome,
    OutOfMemory,
    Stopped,
    TimedOut,
    Unsupported,
)
from sweeper.core.spec import TrialSpec

LOG_TAIL_LINES = 12


class Ending(Enum):
    """Why the parent stopped waiting."""

    BY_ITSELF = "the processes ended"
    DEADLINE = "the deadline passed"
    NO_PROGRESS = "no rank made progress"


@dataclass(frozen=True, slots=True, kw_only=True)
class RanksReport:
    """What is there when the processes of a trial are gone.

    ``results`` and ``phases`` have one entry for each rank; a result is None where the rank wrote
    none, or half of one. ``ending`` and ``kernel_killed`` are the parent's own observations;
    ``patience_seconds`` is how long it would wait for progress.
    """

    results: Sequence[Mapping[str, Any] | None]
    phases: Sequence[str]
    exit_code: int | None
    ending: Ending
    kernel_killed: bool
    log_tail: str
    patience_seconds: float = 0.0
    stuck_processes: Sequence[int] = ()


def outcome_of(report: RanksReport, spec: TrialSpec) -> Outcome:
    """A rank that ran out of memory beats the connection errors that this causes in the others."""
    for kind in ("out-of-memory", "unsupported"):
        for result in report.results:
            if result is not None and result["kind"] == kind:
                return _told(result, kind)
    if all(result is not None and result["kind"] == "measured" for result in report.results):
        results = [r for r in report.results if r is not None]
        measurement = _merged(results, spec)
        if results[0].get("beaten"):
            return Stopped(measurement=measurement, reason=_why_beaten(measurement, spec))
        return Measured(measurement=measurement)
    # A rank that was told to end followed one that vanished, or the parent's own decision.
    silent = _ranks(report, lambda result: result is None) or _ranks(
        report, lambda result: result is not None and result["kind"] == "ended"
    )
    if silent and (memory := _vanished_for_memory(report)):
        return OutOfMemory(
            memory="device" if memory == "device" else "host",
            phase=report.phases[silent[0]],
            reason=f"rank {silent[0]} was killed: {_vanished_why(report)}",
        )
    if report.ending is not Ending.BY_ITSELF:
        phase = report.phases[silent[0]] if silent else "end"
        return TimedOut(phase=phase, reason=f"{_why_ended(report, spec)}, in phase {phase}")
    for result in report.results:
        if result is not None and result["kind"] == "diverged":
            return Diverged(reason=result["reason"])
    return _crashed(report, silent)


def _ranks(report: RanksReport, which: Callable[[Mapping[str, Any] | None], bool]) -> list[int]:
    return [rank for rank, result in enumerate(report.results) if which(result)]


def _why_ended(report: RanksReport, spec: TrialSpec) -> str:
    if report.ending is Ending.NO_PROGRESS:
        return (
            f"hangs: no rank made progress for {report.patience_seconds:.0f} s (launch.hang_seconds,"
            " or 20 times the longest step)"
        )
    return f"not done after {spec.timeout_seconds:g} s (launch.timeout_seconds)"


def _why_beaten(measurement: Measurement, spec: TrialSpec) -> str:
    return (
        f"clearly beaten after {len(measurement.step_seconds)} steps: an optimizer step takes about"
        f" {measurement.median_step_seconds:.3g} s, the best one's at most"
        f" {spec.beaten_step_seconds:.3g} s"
    )


def _told(result: Mapping[str, Any], kind: str) -> Outcome:
    if kind == "unsupported":
        return Unsupported(reason=result["reason"])
    where, phase = result["memory"], result["phase"]
    return OutOfMemory(
        memory=where, phase=phase, reason=f"{where} memory ran out in {phase}: {result['reason']}"
    )


def _vanished_for_memory(report: RanksReport) -> str | None:
    # The one place where a log decides: an allocation that fails inside a library may abort the
    # process before it can write, and the allocator's words are then the last in the log.
    return "host" if report.kernel_killed else memory_that_ran_out(report.log_tail)


def _vanished_why(report: RanksReport) -> str:
    if report.kernel_killed:
        return "the kernel ran out of memory"
    return "an allocation failed"


def _crashed(report: RanksReport, silent: Sequence[int]) -> Crashed:
    errors = [r for r in report.results if r is not None and r["kind"] == "error"]
    # A rank that lost its peer says so in terms of its connection; the peer knows why.
    errors.sort(key=lambda result: _is_lost_connection(result["reason"]))
    if errors and not (silent and _is_lost_connection(errors[0]["reason"])):
        first = errors[0]
        return Crashed(
            reason=f"rank {first['rank']} in phase {first['phase']}: {first['reason']}",
            evidence=first["evidence"],
            exit_code=report.exit_code,
        )
    if silent and any(report.phases[rank] != "start" for rank in silent):
        reason = (
            f"rank {silent[0]} ended in phase {report.phases[silent[0]]} without writing a result"
        )
    else:
        reason = "the launcher ended before any rank started"
    last_line = one_line((report.log_tail.strip().splitlines()[-1:] or [""])[0])
    return Crashed(
        reason=f"{reason} (exit code {report.exit_code}) {last_line}".strip(),
        evidence=report.log_tail,
        exit_code=report.exit_code,
    )


def _is_lost_connection(reason: str) -> bool:
    lowered = reason.lower()
    return any(
        word in lowered
        for word in ("connection closed", "connection reset", "connection refused", "broken pipe")
    )


def _merged(results: Sequence[Mapping[str, Any]], spec: TrialSpec) -> Measurement:
    """Slowest rank of each step, largest memory of any rank, mean loss over the ranks."""

    def largest(name: str) -> int | None:
        values = [result[name] for result in results if result[name] is not None]
        return max(values) if values else None

    return Measurement(
        step_seconds=tuple(map(max, zip(*(r["step_seconds"] for r in results), strict=True))),
        warmup_step_seconds=tuple(
            map(max, zip(*(r["warmup_step_seconds"] for r in results), strict=True))
        ),
        skipped_steps=max(r["skipped_steps"] for r in results),
        losses=tuple(
            sum(losses) / len(losses)
            for losses in zip(*(r["losses"] for r in results), strict=True)
        ),
        breakdown_seconds=_slowest_parts(results),
        flops_per_step=results[0]["flops_per_step"],
        memory=tuple(result["memory"] for result in results),
        samples_per_step=spec.global_batch_size,
        tokens_per_step=results[0].get(
            "tokens_per_step", spec.global_batch_size * spec.sequence_length
        ),
        ranks=spec.ranks,
        peak_device_allocated_bytes=largest("peak_device_allocated_bytes"),
        peak_device_reserved_bytes=largest("peak_device_reserved_bytes"),
        peak_host_resident_bytes=largest("peak_host_resident_bytes") or 0,
    )


def _slowest_parts(results: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, ...]]:
    """Part by part, the slowest rank in each step."""
    parts = results[0]["breakdown_seconds"]
    return {
        name: tuple(map(max, zip(*(r["breakdown_seconds"][name] for r in results), strict=True)))
        for name in parts
    }
