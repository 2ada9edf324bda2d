"""``report.md``: the answer first, then what it rests on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeper.core.equivalence import loss_differences
from sweeper.core.exported import EXPORTED
from sweeper.core.measurement import Measurement
from sweeper.core.outcome import Measured, Stopped, kind_of, measurement_of, reason_of
from sweeper.core.quantities import format_bytes, format_rate
from sweeper.core.robustness import Robustness, in_words
from sweeper.core.standing import Standing
from sweeper.core.trial import Trial
from sweeper.report.figure import Figure
from sweeper.report.finalists import finalists_section
from sweeper.report.table import MAIN_SETTINGS, other_varying_settings
from sweeper.report.verdict import verdict


def report_markdown(
    how: Standing,
    *,
    study: Mapping[str, Any],
    figures: Sequence[Figure],
    root: Path,
    stop_reason: str,
    robust: Robustness | None = None,
    ruled_out: Mapping[str, Any] | None = None,
    script: Mapping[str, Any] | None = None,
) -> str:
    """``study`` is what study.yaml holds, ``ruled_out`` ruled_out.json, ``script`` script.json; figures are given relative to ``root``."""
    trials = how.trials
    parts = [
        f"# {study.get('study_name', root.name)}",
        _answer(how, root),
        finalists_section(how.finals, robust, trials)
        if how.finals is not None
        else _robust(robust),
        _layouts(trials),
        _ranking(trials),
        _failures(trials),
        _not_run(ruled_out),
        _of_the_script(script),
        _different(trials),
        _pictures(figures, root),
        _trust(trials, study, stop_reason),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def changed_settings(trial: Trial, baseline: Trial) -> dict[str, tuple[Any, Any]]:
    """Setting -> (baseline's value, the trial's), where they differ."""
    names = dict.fromkeys([*baseline.settings, *trial.settings])
    pairs = {n: (baseline.settings.get(n), trial.settings.get(n)) for n in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def not_in_the_json(trial: Trial, *, place: str = "best") -> str:
    """One sentence: what of the winner a ds_config.json cannot carry, and what does; "" where it is nothing.

    ``place`` is the folder of that JSON.
    """
    given = trial.settings
    parts = []
    if n := given.get("checkpointing.every_nth_block"):
        where = ", kept on the CPU" if given.get("checkpointing.on_cpu") else ""
        parts.append(
            f"activation checkpointing (every {'block' if n == 1 else f'{n}. block'}{where})"
        )
    if given.get("compile.mode", "none") != "none":
        parts.append("the call of `engine.compile()`")
    for name, what in (
        ("pipeline", "the pipeline's {} stages"),
        ("tensor", "which batches the {} ranks of tensor parallelism share"),
        ("sequence", "sequence parallelism over {} ranks"),
        ("expert", "expert parallelism over {} ranks"),
    ):
        if (degree := given.get(f"parallel.{name}", 1)) > 1:
            parts.append(what.format(degree))
    launch = [n for n in EXPORTED["launch"] if given.get(f"launch.{n}")]
    if launch:
        parts.append(f"the launch settings ({', '.join(launch)})")
    if not parts:
        return ""
    *most, last = parts
    return (
        f"The JSON alone does not carry {', '.join(most)}{' and ' if most else ''}{last}: "
        f"`{place}/settings.yaml` does, applied by the two lines `from sweeper.best import prepare` "
        f'and `engine = prepare("{place}", model)`, started by `{place}/launch.sh`.'
    )


def _robust(robust: Robustness | None) -> str:
    return "" if robust is None else f"## How safe it is\n\n{in_words(robust)}"


def _answer(how: Standing, root: Path) -> str:
    trials, best = how.trials, how.winner
    lines = ["## The answer", "", f"{_capital(verdict(how))}."]
    if best is None:
        return "\n".join([*lines, "", "The section on failures says why."])
    baseline = trials[0]
    changed = changed_settings(best, baseline)
    if changed:
        rows = [(f"`{name}`", str(old), str(new)) for name, (old, new) in changed.items()]
        lines += ["", *_table(("setting", "baseline", f"trial {best.number}"), rows)]
    if isinstance(baseline.outcome, Measured) and best is not baseline:
        lines += ["", *_comparison(baseline, best)]
    lines += ["", f"Use it: [`best/ds_config.json`](best/ds_config.json), with {_ranks(best)}."]
    if missing := not_in_the_json(best):
        lines += ["", missing]
    return "\n".join(lines)


def _comparison(baseline: Trial, best: Trial) -> list[str]:
    def cells(trial: Trial) -> tuple[str, ...]:
        m = _measurement(trial)
        return (
            _rate(m),
            f"{m.samples_per_second:.4g}",
            f"{m.median_step_seconds:.4g}",
            format_bytes(m.peak_bytes),
        )

    head = ("", "tokens/s (median ± MAD)", "samples/s", "step (s)", "peak memory")
    lines = _table(head, [("baseline", *cells(baseline)), (f"trial {best.number}", *cells(best))])
    parts = [_measurement(trial).breakdown for trial in (baseline, best)]
    if all(parts):
        names = [name for name in ("forward", "backward", "optimizer", "rest") if name in parts[0]]
        rows = [
            (who, *(f"{part.get(name, 0.0):.3g}" for name in names))
            for who, part in zip(("baseline", f"trial {best.number}"), parts, strict=True)
        ]
        lines += ["", "Where a step's seconds go (measured apart, with synchronisation):", ""]
        lines += _table(("", *names), rows)
    return lines


def _layouts(trials: Sequence[Trial]) -> str:
    """The ways in which the model was spread over the ranks, each by the fastest trial of its kind."""
    fastest: dict[str, Trial] = {}
    for trial in trials:
        if isinstance(trial.outcome, Measured):
            layout = layout_of(trial)
            best = fastest.get(layout)
            if best is None or _measurement(trial).tokens_per_second > (
                _measurement(best).tokens_per_second
            ):
                fastest[layout] = trial
    if len(fastest) < 2:
        return ""
    rows = [
        (
            layout,
            str(trial.number),
            str(trial.settings["zero.stage"]),
            _rate(m := _measurement(trial)),
            f"{m.median_step_seconds:.4g}",
            format_bytes(m.peak_bytes),
        )
        for layout, trial in sorted(
            fastest.items(), key=lambda item: -_measurement(item[1]).tokens_per_second
        )
    ]
    head = ("layout", "fastest trial", "ZeRO", "tokens/s (median ± MAD)", "step (s)", "peak a rank")
    return "\n".join(["## Parallel layouts", "", *_table(head, rows)])


def layout_of(trial: Trial) -> str:
    """``"tensor 2 x data 2"``: how the ranks of a trial share the work."""
    given = trial.settings
    degrees = {n: given.get(f"parallel.{n}", 1) for n in ("tensor", "pipeline", "sequence")}
    data = given["hardware.ranks"] // math.prod(degrees.values())
    degrees |= {"data": data, "expert": given.get("parallel.expert", 1)}
    return " x ".join(f"{n} {degree}" for n, degree in degrees.items() if degree > 1) or "one rank"


def _ranking(trials: Sequence[Trial]) -> str:
    measured = [t for t in trials if measurement_of(t.outcome) is not None]
    if not measured:
        return ""
    measured.sort(key=lambda t: -_measurement(t).tokens_per_second)
    settings = [*MAIN_SETTINGS, *other_varying_settings(trials)]
    head = ("rank", "trial", "tokens/s", "samples/s", "step (s)", "peak memory", *settings)
    rows = []
    for rank, trial in enumerate(measured, start=1):
        m = _measurement(trial)
        name = f"{trial.number} (baseline)" if trial.number == 0 else str(trial.number)
        if isinstance(trial.outcome, Stopped):
            name += " (stopped early: beaten)"
        numbers = (
            _rate(m),
            f"{m.samples_per_second:.4g}",
            f"{m.median_step_seconds:.4g}",
            format_bytes(m.peak_bytes),
        )
        rows.append((str(rank), name, *numbers, *(str(trial.settings.get(s)) for s in settings)))
    return "\n".join(["## Ranking", "", *_table(head, rows)])


def _failures(trials: Sequence[Trial]) -> str:
    failed = [t for t in trials if measurement_of(t.outcome) is None]
    if not failed:
        return ""
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in failed:
        groups.setdefault((kind_of(trial.outcome), reason_of(trial.outcome)), []).append(trial)
    rows = [
        (kind, reason, ", ".join(f"[{t.number}](trials/{t.number:04d}/)" for t in members))
        for (kind, reason), members in sorted(groups.items())
    ]
    return "\n".join(
        ["## What was not measured, and why", "", *_table(("outcome", "reason", "trials"), rows)]
    )


def _not_run(ruled_out: Mapping[str, Any] | None) -> str:
    """What the plan and the memory model took out of the space before the first trial."""
    if not ruled_out or not ruled_out["rules"]:
        return ""
    rules = sorted(ruled_out["rules"].items(), key=lambda item: -item[1]["candidates"])
    rows = [(rule, str(found["candidates"]), found["reason"]) for rule, found in rules]
    number = sum(found["candidates"] for _, found in rules)
    head = ("rule", "candidates", "reason of the first")
    return "\n".join(
        [
            "## What was ruled out without a trial",
            "",
            f"{number} of {ruled_out['space']} candidates:",
            "",
            *_table(head, rows),
        ]
    )


def _of_the_script(script: Mapping[str, Any] | None) -> str:
    """What a training script decided itself."""
    if not script or not script["notes"]:
        return ""
    return "\n".join(["## What the script decides", "", *(f"* {n}." for n in script["notes"])])


def _different(trials: Sequence[Trial]) -> str:
    found = {n: d for n, d in loss_differences(trials).items() if d.trains_differently}
    if not found:
        return ""
    rows = [
        (f"[{n}](trials/{n:04d}/)", f"{d.largest:.2%}", str(d.step), f"{d.tolerance:.2%}")
        for n, d in found.items()
    ]
    reference = next(iter(found.values())).reference
    return "\n".join(
        [
            "## Trains differently",
            "",
            f"These were fast or slow at something else: on the same batches their losses differ from trial "
            f"{reference}'s by more than the arithmetic explains. They cannot win.",
            "",
            *_table(("trial", "largest difference", "in step", "tolerance"), rows),
        ]
    )


def _pictures(figures: Sequence[Figure], root: Path) -> str:
    if not figures:
        return ""
    pictures = [
        f"![{figure.title}]({figure.png.relative_to(root).as_posix()})" for figure in figures
    ]
    return "\n\n".join(["## Pictures", *pictures])


def _trust(trials: Sequence[Trial], study: Mapping[str, Any], stop_reason: str) -> str:
    lines = ["## How it was measured", ""]
    measured = [t for t in trials if isinstance(t.outcome, Measured)]
    if measured:
        settings, m = measured[0].settings, _measurement(measured[0])
        lines.append(
            f"* Each trial trains `{settings.get('model.name', settings.get('model._target_'))}` started by "
            f"`launch={settings.get('launch.runner')}` on {_ranks(measured[0])}: optimizer steps until "
            f"their time has settled ({len(m.warmup_step_seconds)} in trial {measured[0].number}), then timed ones until the "
            f"median is known to {float(settings['measure.interval']):.0%} or {settings['measure.max_seconds']:g} s are over ({len(m.step_seconds)}), of {m.samples_per_step} samples "
            f"({m.tokens_per_step} tokens), the same batches for every trial. A step's time is that of "
            "the slowest rank, data and update included; memory is that of the worst rank."
        )
    lines.append(
        "* ± is the median absolute deviation over the measured steps of one trial. In the search each "
        "candidate ran once: differences of that size are noise."
    )
    if differences := loss_differences(trials):
        largest = max(d.largest for d in differences.values())
        lines.append(
            f"* Losses of {len(differences)} trials were compared with those of trial "
            f"{next(iter(differences.values())).reference}, step by step: the largest difference is {largest:.2%}."
        )
    thrashing = [t.number for t in measured if _measurement(t).alloc_retries]
    if thrashing:
        lines.append(
            f"* Fits but thrashes (allocations were tried again after a flush): trials "
            f"{', '.join(map(str, thrashing))}."
        )
    lines.append(f"* The study ended because {_one_line(stop_reason)}.")
    kinds: dict[str, int] = {}
    for trial in trials:
        kinds[kind_of(trial.outcome)] = kinds.get(kind_of(trial.outcome), 0) + 1
    lines.append(
        f"* {len(trials)} trials: {', '.join(f'{n} {kind}' for kind, n in sorted(kinds.items()))}."
    )
    environment = next((t.environment for t in measured if t.environment), None)
    if environment or study.get("environment"):
        shown = environment or study["environment"]
        facts = ", ".join(f"{name} {value}" for name, value in shown.items() if value is not None)
        lines.append(f"* Environment: {facts}.")
    lines.append("* All numbers: [`trials.csv`](trials.csv); each trial's files: `trials/`.")
    return "\n".join(lines)


def _measurement(trial: Trial) -> Measurement:
    measurement = measurement_of(trial.outcome)
    assert measurement is not None
    return measurement


def _rate(m: Measurement) -> str:
    return f"{format_rate(m.tokens_per_second)} ± {format_rate(float(f'{m.tokens_per_second_mad:.2g}'))}"


def _ranks(trial: Trial) -> str:
    ranks = int(trial.settings["hardware.ranks"])
    return f"{ranks} {trial.settings['hardware.accelerator']} rank{'s' if ranks > 1 else ''}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(_one_line(cell).replace("|", "\\|") for cell in cells) + " |"

    return [line(head), "|" + " --- |" * len(head), *(line(row) for row in rows)]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
