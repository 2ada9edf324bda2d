"""``export``: a study's winner in the files that one framework, or each, reads."""

from __future__ import annotations

from pathlib import Path

from sweeper.core.export_formats import ALL, formats_named, refusal
from sweeper.core.folder import StudyFolder
from sweeper.errors import NothingMeasured, UsageError
from sweeper.report.bundle import winner_of, write_export
from sweeper.report.study_record import how_it_stands

_TYPE = "type python -m sweeper export results/<study> --format hf"


def export(typed: str, *, name: str, to: str | None, force: bool) -> str:
    """Writes the format ``name``, or ``all``; returns what was written, or left out, line by line.

    ``to`` is where, the study's own folder ``export`` if None; ``force`` replaces what is there.
    Raises UsageError, or NothingMeasured of a study without a winner, before anything is written.
    """
    formats = formats_named(name)
    folder = StudyFolder(Path(typed))
    if not folder.trials.is_dir():
        raise UsageError(f"export {typed}: there is no study in this folder (no trials/); {_TYPE}")
    how = how_it_stands(folder)
    if how.winner is None:
        raise NothingMeasured(
            f"export {typed}: this study has no winner, none of its {len(how.trials)} trials was "
            f"measured; type python -m sweeper report {typed} for what became of each"
        )
    winner = winner_of(folder, how.winner)
    refused = {f.name: why for f in formats if (why := refusal(f, winner.settings))}
    if name != ALL and refused:
        raise UsageError(f"export {typed} --format {name}: {refused[name]}")
    target = Path(to) if to is not None else folder.export(name)
    if _is_taken(target) and not force:
        raise UsageError(
            f"export {typed}: there is something at {target} already; add --force to replace the "
            "files of the same names, or type --to <another folder>"
        )
    if target.exists() and not target.is_dir():
        raise UsageError(f"export {typed}: {target} is no folder; type --to <a folder>")
    written = write_export(folder, how, winner, target, formats)
    return "\n".join(
        [str(path) for path in written] + [f"not {form}: {why}" for form, why in refused.items()]
    )


def _is_taken(target: Path) -> bool:
    return target.exists() and not (target.is_dir() and not any(target.iterdir()))
