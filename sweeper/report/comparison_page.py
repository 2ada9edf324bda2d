"""Studies side by side, as a page: whether they can be compared at all comes first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from sweeper.core.files import write_text
from sweeper.core.outcome import became, kind_of
from sweeper.core.quantities import format_bytes, format_rate
from sweeper.errors import UsageError
from sweeper.report.compared_study import ComparedStudy, compared_studies
from sweeper.report.comparison import Comparison, Difference, compare, times
from sweeper.report.comparison_trials import same_candidates, together
from sweeper.report.html import to_html
from sweeper.report.knobs import shown_value
from sweeper.report.markdown import to_markdown
from sweeper.report.page.answer import changed_settings
from sweeper.report.page.blocks import (
    Block,
    Bullets,
    Callout,
    Cell,
    Code,
    Page,
    Paragraph,
    Section,
    Table,
    Text,
    listed,
    say,
)
from sweeper.report.page.words import counted, options

_MOST_NAMED = 4
_SUFFIXES = (".md", ".html")


def compare_studies(typed: Sequence[str], *, output: str | None) -> str:
    """The comparison as Markdown, or where it was written. Raises UsageError, or NothingMeasured."""
    asked = f"report {' '.join(typed)}"
    target = Path(output) if output is not None else None
    if target is not None and (target.suffix not in _SUFFIXES or target.is_dir()):
        raise UsageError(
            f"{asked} --output {output}: a file that ends in .md or .html is wanted; "
            "type --output comparison.html"
        )
    page = comparison_page(compare(compared_studies(typed)))
    if target is None:
        return to_markdown(page, Path()).rstrip("\n")
    write_text(target, to_html(page) if target.suffix == ".html" else to_markdown(page, Path()))
    return f"comparison: {target}"


def comparison_page(found: Comparison) -> Page:
    """Without a common ranking where there can be none."""
    labels = [study.label for study in found.studies]
    sections = (
        Section(name="short", title="In short", blocks=[*_may_be_compared(found), _short(found)]),
        Section(name="differs", title="What differs", blocks=[*_differences(found)]),
        Section(name="studies", title="Side by side", blocks=[*_side_by_side(found)]),
        same_candidates(found),
        together(found),
    )
    return Page(
        title=f"{', '.join(labels[:-1])} and {labels[-1]}",
        subtitle=say(
            f"{counted(len(labels), 'study').replace('studys', 'studies')} side by side; "
            "the others are told against {}",
            Code(labels[0]),
        ),
        sections=[section for section in sections if section is not None],
    )


def _may_be_compared(found: Comparison) -> Iterator[Block]:
    if found.unequal_environments:
        yield Callout(
            tone="caution",
            text=say(
                "These studies ran in unequal environments, which differ in {}: a difference between "
                "their numbers may be the environment's, and their trials are not ranked together.",
                _some(found.unequal_environments),
            ),
        )
    if found.unequal_training:
        yield Callout(
            tone="caution",
            text=say(
                "They do not train the same, they differ in {}: a token of one is not the work of a "
                "token of the other, and their trials are not ranked together.",
                _some(found.unequal_training),
            ),
        )
    if found.ranked_together:
        hosts = " (on another host of the same kind)" if found.environment else ""
        yield Callout(
            tone="neutral",
            text=say(
                f"They ran in equal environments{hosts} and train the same: their trials are ranked "
                "together below. They did not take turns: what slows a machine on one day is in the "
                "numbers of that day."
            ),
        )


def _some(names: Sequence[str]) -> Text:
    """Of many the first few; a table below has them all."""
    if len(names) <= _MOST_NAMED + 1:
        return options(names)
    return (
        *listed([Code(n) for n in names[:_MOST_NAMED]]),
        f" and {len(names) - _MOST_NAMED} more",
    )


def _short(found: Comparison) -> Bullets:
    first, *others = found.studies
    return Bullets(items=[item for other in others for item in _against(found, first, other)])


def _against(found: Comparison, first: ComparedStudy, other: ComparedStudy) -> Iterator[Text]:
    names = (Code(other.label), Code(first.label))
    ratio = times(other, other.winner, first, first.winner)
    if ratio is not None:
        how = "95 % interval of both finals" if ratio.interval else "each ran once"
        doubt = "" if ratio.is_clear else "; that is within the noise"
        yield say(
            f"The winner of {{}}, trial {other.winner.number}, reaches {ratio} times the tokens/s of "
            f"the winner of {{}}, trial {first.winner.number} ({how}){doubt}.",
            *names,
        )
    yield say(
        f"The gain of each over its own baseline: {{}} {gain(other)}; {{}} {gain(first)}.", *names
    )
    peaks = [format_bytes(s.best_peak(s.winner) or 0) for s in (other, first)]
    yield say(f"The fullest rank of {{}} takes {peaks[0]}, that of {{}} {peaks[1]}.", *names)
    fixed = {d.name for d in found.fixed}
    changed = [n for n in changed_settings(other.winner, first.winner) if n not in fixed]
    if changed:
        values = listed([Code(f"{n}={shown_value(other.winner.settings.get(n))}") for n in changed])
        yield say("The winner of {} has {}, unlike that of {}.", names[0], values, names[1])
    else:
        but = ", but for what differs between the two studies anyhow" if found.fixed else ""
        yield say(f"Both chose the same settings{but}.")


def gain(study: ComparedStudy) -> str:
    """The winner's throughput over the baseline's, with its interval or its spread."""
    finals, winner, baseline = study.how.finals, study.winner, study.baseline
    if winner.number == baseline.number:
        return "none, the baseline itself won"
    if finals is not None and finals.winner == winner.number and finals.gain is not None:
        return str(finals.gain)
    ratio = times(study, winner, study, baseline)
    if ratio is None:
        return f"not told, the baseline {became(baseline.outcome)}"
    return f"{ratio}, each of the two ran once"


def _differences(found: Comparison) -> Iterator[Block]:
    parts = (
        ("The environment", found.environment),
        ("Settings that each study held at a value of its own", found.fixed),
        ("What was searched", found.searched),
        ("What was looked for, and how hard", found.made),
    )
    for caption, differences in parts:
        if differences:
            yield _difference_table(caption, differences, found)
    if not any(differences for _, differences in parts):
        yield Paragraph(text=say("Nothing that was written down: the same study, made twice."))


def _difference_table(caption: str, differences: Sequence[Difference], found: Comparison) -> Table:
    rows: list[list[Cell]] = [[(Code(d.name),), *d.values] for d in differences]
    return Table(caption=caption, head=("", *(s.label for s in found.studies)), rows=rows)


def _side_by_side(found: Comparison) -> Iterator[Block]:
    columns = [_column(study) for study in found.studies]
    yield Table(
        caption="The studies and their winners",
        head=("", *(study.label for study in found.studies)),
        rows=[[name, *(column[name] for column in columns)] for name in columns[0]],
    )
    names = dict.fromkeys(n for s in found.studies for n in changed_settings(s.winner, s.baseline))
    if names:
        yield Table(
            caption="What a winner has otherwise than its baseline (baseline → winner)",
            head=("", *(study.label for study in found.studies)),
            rows=[[(Code(name),), *(_changed(s, name) for s in found.studies)] for name in names],
        )


def _changed(study: ComparedStudy, name: str) -> str:
    before, after = (shown_value(t.settings.get(name)) for t in (study.baseline, study.winner))
    return after if before == after else f"{before} → {after}"


def _column(study: ComparedStudy) -> dict[str, Cell]:
    winner, settings = study.winner, study.winner.settings
    kinds = Counter(kind_of(trial.outcome) for trial in study.trials)
    limit = winner.memory_limit_bytes
    return {
        "folder": (Code(study.place),),
        "model": str(settings.get("model.name", settings.get("model._target_"))),
        "hardware": f"{counted(int(settings['hardware.ranks']), 'rank')}, "
        f"{study.environments[0].get('device') or settings['hardware.accelerator']}",
        "versions": ", ".join(
            f"{name} {e[name]}"
            for e in study.environments
            for name in ("torch", "deepspeed")
            if e.get(name)
        ),
        "winner": f"trial {winner.number}",
        "tokens/s": format_rate(study.best_rate(winner) or 0.0),
        "gain over its baseline": gain(study),
        "peak memory": format_bytes(study.best_peak(winner) or 0),
        "memory limit of a rank": format_bytes(limit) if limit else "all of the device",
        "trials": f"{len(study.trials)}: "
        + ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items())),
    }
