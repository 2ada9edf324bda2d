"""From what each rank wrote to the outcome of the trial."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sweeper.core.measurement import Measurement
from sweeper.core.one_line import one_line
from sweeper.core.outcome import (
    PHASES_BEFORE_STEPS,
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
    none, or half of one. ``ending``, ``kernel_killed`` and ``full_ranks`` (that had next to nothing left of
    their limit on memory when they were last seen) are the parent's own observations;
    ``patience_seconds`` is how long it would wait for progress. ``exit_code`` is that of what started the
    ranks, ``rank_exit_codes`` are their own where they are known. ``log_tail`` is evidence, and decides
    nothing; ``remark`` is about what starts ranks.
    """

    results: Sequence[Mapping[str, Any] | None]
    phases: Sequence[str]
    exit_code: int | None
    ending: Ending
    kernel_killed: bool
    log_tail: str
    patience_seconds: float = 0.0
    stuck_processes: Sequence[int] = ()
    rank_exit_codes: Sequence[int | None] = ()
    full_ranks: Sequence[int] = ()
    remark: str = ""


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
    if silent and (starved := _starved(report, silent)) is not None:
        return OutOfMemory(
            memory="host",
            phase=report.phases[starved],
            reason=f"rank {starved} {_why_starved(report, starved)}",
        )
    if report.ending is not Ending.BY_ITSELF:
        phase = report.phases[silent[0]] if silent else "end"
        return TimedOut(
            phase=phase,
            reason=_with(
                report,
                f"{_why_ended(report, spec)}, in phase {phase}{_what_to_try(phase, spec)}",
            ),
        )
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


def _what_to_try(phase: str, spec: TrialSpec) -> str:
    """Boards whose devices cannot reach each other's memory hang in the first collective (nccl-tests#117, nccl#2079)."""
    if spec.accelerator != "cuda" or spec.ranks == 1 or phase not in PHASES_BEFORE_STEPS:
        return ""
    return "; where it is NCCL: type export NCCL_P2P_DISABLE=1, or export NCCL_DEBUG=INFO to see what it waits for"


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


def _starved(report: RanksReport, silent: Sequence[int]) -> int | None:
    """The rank that ended for want of memory before it could write: by what was seen of it, never by a log."""
    if report.kernel_killed:
        killed = [r for r in silent if _code_of(report, r) in (None, -signal.SIGKILL)]
        return killed[0] if killed else None
    # What a library throws and nobody catches ends a process by SIGABRT; a launcher keeps its code to itself.
    aborted = (None, -signal.SIGABRT)
    full = [r for r in silent if r in report.full_ranks and _code_of(report, r) in aborted]
    return full[0] if full and report.ending is Ending.BY_ITSELF else None


def _why_starved(report: RanksReport, rank: int) -> str:
    if report.kernel_killed:
        return "was killed: the kernel ran out of memory"
    return "aborted with next to nothing left of its limit on memory"


def _code_of(report: RanksReport, rank: int) -> int | None:
    return report.rank_exit_codes[rank] if report.rank_exit_codes else None


def _with(report: RanksReport, reason: str) -> str:
    return f"{reason}; {report.remark}" if report.remark else reason


def _crashed(report: RanksReport, silent: Sequence[int]) -> Crashed:
    errors = [r for r in report.results if r is not None and r["kind"] == "error"]
    # A rank that lost its peer says so in terms of its connection; the peer knows why.
    errors.sort(key=lambda result: _is_lost_connection(result["reason"]))
    if errors and not (silent and _is_lost_connection(errors[0]["reason"])):
        first = errors[0]
        return Crashed(
            reason=f"rank {first['rank']} in phase {first['phase']}: {first['reason']}",
            evidence=first["evidence"],
            exit_code=report.exit_code if (own := _code_of(report, first["rank"])) is None else own,
        )
    began = [rank for rank in silent if report.phases[rank] != "start"]
    code = report.exit_code
    if began or any(report.rank_exit_codes):
        # Where the codes are known: the one that failed, not one that was ended because of it.
        failed = [rank for rank in silent if _code_of(report, rank)]
        rank = (failed or [r for r in silent if _code_of(report, r) is not None] or silent)[0]
        reason = f"rank {rank} ended in phase {report.phases[rank]} without writing a result"
        if report.rank_exit_codes:
            code = _code_of(report, rank)
            reason = f"{reason} ({_in_words(code)})"
        else:
            reason = f"{reason} (the launcher's {_in_words(code)})"
    else:
        reason = f"the launcher ended before any rank started ({_in_words(code)})"
    last_line = report.log_tail.strip().splitlines()[-1:]
    told = [_with(report, reason), *(f"the log ends: {one_line(line)}" for line in last_line)]
    return Crashed(reason="; ".join(told), evidence=report.log_tail, exit_code=code)


def _in_words(code: int | None) -> str:
    if code is None:
        return "it was ended"
    if code < 0:
        try:
            return f"exit code {code}, {signal.Signals(-code).name}"
        except ValueError:
            pass
    return f"exit code {code}"


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
