"""Studies side by side, as a page: whether they can be compared at all comes first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from sweeper.core.files import write_text
from sweeper.core.quantities import format_bytes, format_rate
from sweeper.errors import UsageError
from sweeper.report.compared_study import ComparedStudy, compared_studies
from sweeper.report.comparison import Comparison, Difference, compare
from sweeper.report.comparison_short import gain, in_short, may_be_compared, outcomes
from sweeper.report.comparison_trials import same_candidates, together
from sweeper.report.html import to_html
from sweeper.report.knobs import shown_value
from sweeper.report.markdown import to_markdown
from sweeper.report.page.answer import changed_settings
from sweeper.report.page.blocks import (
    Block,
    Cell,
    Code,
    Page,
    Paragraph,
    Section,
    Table,
    say,
)
from sweeper.report.page.words import counted

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
        Section(name="short", title="In short", blocks=[*may_be_compared(found), in_short(found)]),
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
    names = dict.fromkeys(
        n for s in found.studies if s.winner for n in changed_settings(s.winner, s.baseline)
    )
    if names:
        yield Table(
            caption="What a winner has otherwise than its baseline (baseline → winner)",
            head=("", *(study.label for study in found.studies)),
            rows=[[(Code(name),), *(_changed(s, name) for s in found.studies)] for name in names],
        )


def _changed(study: ComparedStudy, name: str) -> str:
    if study.winner is None:
        return ""
    before, after = (shown_value(t.settings.get(name)) for t in (study.baseline, study.winner))
    return after if before == after else f"{before} → {after}"


def _column(study: ComparedStudy) -> dict[str, Cell]:
    winner = study.winner
    settings = (winner or study.baseline).settings
    limit = (winner or study.baseline).memory_limit_bytes
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
        "winner": f"trial {winner.number}" if winner else "none",
        "tokens/s": format_rate(study.best_rate(winner) or 0.0) if winner else "",
        "gain over its baseline": gain(study),
        "peak memory": format_bytes(study.best_peak(winner) or 0) if winner else "",
        "memory limit of a rank": format_bytes(limit) if limit else "all of the device",
        "trials": outcomes(study),
    }
