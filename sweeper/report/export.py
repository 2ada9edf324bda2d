"""``export``: a study's winner in the files that one framework, or each, reads."""

from __future__ import annotations

import os.path
from pathlib import Path

from sweeper.core.commands import typed as command
from sweeper.core.export_formats import ALL, formats_named, refusal
from sweeper.core.folder import StudyFolder
from sweeper.errors import NothingMeasured, SweeperError, UsageError
from sweeper.report.bundle import made_export, winner_of, write_files
from sweeper.report.failures import Failures
from sweeper.run.left_out import left_out
from sweeper.run.study_record import how_it_stands

_TYPE = "type python -m sweeper export results/<study> --format hf"


def export(typed: str, *, name: str, to: str | None, force: bool) -> str:
    """Writes the format ``name``, or ``all``; returns what was written, or left out, line by line.

    ``to`` is where, the study's own folder ``export`` if None; ``force`` replaces what is there.
    Raises UsageError, NothingMeasured of a study without a winner, or SweeperError where what was asked for
    cannot be made, before anything is written.
    """
    formats = formats_named(name)
    folder = StudyFolder(Path(typed))
    if not folder.trials.is_dir():
        raise UsageError(f"export {typed}: there is no study in this folder (no trials/); {_TYPE}")
    how = how_it_stands(folder)
    if how.winner is None:
        raise NothingMeasured(
            f"export {typed}: this study has no winner, nothing was measured (trials: "
            f"{len(how.trials)}); type {command('report', typed)} for what became of each"
        )
    lost = left_out(folder, how.winner)
    winner = winner_of(folder, how.winner)
    refused = {f.name: why for f in formats if (why := refusal(f, winner.settings))}
    if name != ALL and refused:
        raise UsageError(f"export {typed} --format {name}: {refused[name]}")
    if to is not None and not to.strip():
        raise UsageError(f"export {typed} --to '': names no folder; type --to <a folder>")
    target = Path(to) if to is not None else folder.export(name)
    failures = Failures(folder)
    made = made_export(folder, how, winner, target, formats, failures)
    files = made.files
    if name in made.left or len(made.left) == len(formats):
        raise SweeperError(f"export {typed} --format {name}: {'; '.join(failures.lines)}")
    if not _is_folder_to_be(target):
        raise UsageError(f"export {typed}: {target} is no folder; type --to <a folder>")
    if not force and target.exists() and any(target.iterdir()):
        there = ", ".join(path.name for path in files if path.exists()) or "no file"
        raise UsageError(
            f"export {typed}: {target} is not empty; type --to <another folder>, or add --force: "
            f"of what is there it replaces {there}"
        )
    write_files(files)
    not_made = [line for line in failures.lines if not line.startswith("export ")]
    return "\n".join(
        [str(path) for path in files]
        + [f"not {form}: {why}" for form, why in made.left.items()]
        + not_made
        + [f"note: {line}" for line in lost]
    )


def _is_folder_to_be(target: Path) -> bool:
    """Nothing on the way to it is a file."""
    way = (target, *target.absolute().parents)
    first = next(path for path in way if os.path.lexists(path))  # a link to nothing is in the way
    return first.is_dir()
