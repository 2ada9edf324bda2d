"""What a study is going to do, before it does it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sweeper.core.quantities import format_bytes
from sweeper.terminal.pace import before_the_first, in_words
from sweeper.terminal.state import Budget
from sweeper.terminal.words import counted, labelled, listed, printable

_MAX_REASONS = 3
_MAX_NAMES = 8
# Rounds before which no winner is named.
_MIN_ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RuledOut:
    """``rules`` has, by the rule's id, how many of ``num_points`` it forbids, and a reason; the rest is left."""

    num_points: int
    is_sample: bool
    rules: Mapping[str, tuple[int, str]]

    @property
    def num(self) -> int:
        return sum(number for number, _ in self.rules.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPlan:
    """``space_size`` is None where it is not finite; ``memory_limit_bytes`` is a rank's, None where unknown.

    ``max_seconds`` is how long a trial's steps are timed at most.
    """

    model: str
    num_parameters: int | None
    ranks: int
    accelerator: str
    device: str
    memory_limit_bytes: int | None
    global_batch_size: int
    sequence_length: int | None
    parameters: tuple[str, ...]
    space_size: int | None
    ruled_out: RuledOut | None
    budget: Budget
    runner: str
    max_seconds: float


def plan_text(plan: StudyPlan, width: int | None) -> str:
    """Labelled lines; ``width`` None does not break them."""
    lines = [line for label, text in _parts(plan) for line in labelled(label, text, width)]
    return printable("\n".join(lines))


def _parts(plan: StudyPlan) -> Iterator[tuple[str, str]]:
    yield "model", _model(plan)
    yield "hardware", _hardware(plan)
    yield "batch", _batch(plan)
    yield "space", _space(plan)
    if plan.ruled_out is not None:
        yield from _ruled_out(plan.ruled_out)
    yield "budget", _budget(plan.budget)
    yield (
        "time",
        before_the_first(plan.budget, runner=plan.runner, max_seconds=plan.max_seconds),
    )


def _model(plan: StudyPlan) -> str:
    if plan.num_parameters is None:
        return plan.model
    return f"{plan.model}, {_number(plan.num_parameters)} parameters"


def _number(parameters: int) -> str:
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if parameters >= unit:
            return f"{parameters / unit:.3g}{name}"
    return str(parameters)


def _hardware(plan: StudyPlan) -> str:
    where = "the CPU" if plan.accelerator == "cpu" else plan.accelerator.upper()
    limit = plan.memory_limit_bytes
    each = " each" if plan.ranks > 1 else ""
    memory = f", {format_bytes(limit)} of memory{each}" if limit else ""
    return f"{counted(plan.ranks, 'rank')} on {where} ({plan.device}){memory}"


def _batch(plan: StudyPlan) -> str:
    tokens = f" of {plan.sequence_length:,} tokens" if plan.sequence_length else ""
    return f"{counted(plan.global_batch_size, 'sample')}{tokens} in every step, for every candidate"


def _space(plan: StudyPlan) -> str:
    if not plan.parameters:
        return "nothing is searched: the baseline alone"
    knobs = listed(_few(plan.parameters))
    if plan.space_size is None:
        return f"any number of candidates: {knobs}"
    return f"{counted(plan.space_size, 'candidate')}: {knobs}"


def _few(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(names) <= _MAX_NAMES:
        return names
    return (*names[: _MAX_NAMES - 1], f"{len(names) - _MAX_NAMES + 1} more")


def _ruled_out(found: RuledOut) -> Iterator[tuple[str, str]]:
    of = f"{found.num_points:,} drawn at random" if found.is_sample else f"{found.num_points:,}"
    if not found.num:
        yield "", f"of {of}, none is ruled out before it is run"
        return
    yield "", f"{found.num:,} of {of} candidates are ruled out before they are run:"
    ordered = sorted(found.rules.items(), key=lambda item: -item[1][0])
    for rule, (number, reason) in ordered[:_MAX_REASONS]:
        yield f"{number:>8,}", f"{rule}, e.g. {reason}"
    if rest := ordered[_MAX_REASONS:]:
        number = sum(number for _, (number, _) in rest)
        yield f"{number:>8,}", f"for {counted(len(rest), 'other reason')}; the report has them"


def _budget(budget: Budget) -> str:
    limit = "" if budget.seconds is None else f" or {in_words(budget.seconds)}, whichever is first"
    said = f"{counted(budget.trials, 'trial')}{limit}"
    if not budget.finalists:
        return f"{said}; no finals: each candidate is measured once"
    best = "the best one" if budget.finalists == 1 else f"the best {budget.finalists}"
    rounds = f"{_MIN_ROUNDS}" + (
        f" to {most}" if (most := budget.finalist_rounds) > _MIN_ROUNDS else ""
    )
    return f"{said}; then {best} and the baseline again, in {rounds} rounds"
