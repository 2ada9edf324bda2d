"""The page of files: what a study leaves, and in which of its folders."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

from docs.generate.markdown import code, page, sentence, table
from sweeper.core.folder import BundleFolder, RoundsFolder, StudyFolder, TrialFolder

_INTRODUCTION = """\
The folder of a study is the protocol between the command, the ranks and the report. Trial folders hold the
facts, and Optuna's storage the search; everything else is derived, and `python -m sweeper report results/<study>` makes
it again. Files are written whole and under a temporary name first, so a reader never sees half of one."""

_ROOT = Path("results/<study>")


def files_page() -> str:
    """From the classes that own the names."""
    study = StudyFolder(_ROOT)
    return page(
        "Files of a study",
        _INTRODUCTION,
        _section("The study", study, _ROOT),
        _section("A trial", study.trial(7), _ROOT),
        "Each rank writes `result.rank<N>.json` with its raw step times, and `progress.rank<N>.json` while it runs. "
        "Hydra's own record of the trial is beside them, in `.hydra/`.",
        _section("The winner", study.bundle, _ROOT),
        "Only what the winner needs, and what its layout allows, is written: [taking it to a framework](../export.md).",
        "## Measured again",
        f"`{_short(study.finalists.trial(1, 7).path)}` is a trial of the finals, by round and its number in the "
        f"study, with the same files; what the rounds say is in `{_short(study.finalists.summary)}`. "
        f"`verify` writes the same under `{_short(study.verification('<time>').path)}`, a training "
        f"script's first runs are in `{_short(study.probe('<name>').path)}`, and an export without "
        f"`--to` goes to `{_short(study.export('<format>'))}`.",
    )


def paths(folder: object) -> Iterator[tuple[Path, str]]:
    """Path and meaning of each property that is one."""
    for name, member in vars(type(folder)).items():
        if not isinstance(member, property):
            continue
        value = getattr(folder, name)
        if isinstance(value, BundleFolder | RoundsFolder | TrialFolder):
            value = value.path
        if isinstance(value, Path):
            yield value, inspect.getdoc(member) or ""


def _section(title: str, folder: StudyFolder | TrialFolder | BundleFolder, root: Path) -> str:
    rows: dict[str, str] = {}
    for path, text in paths(folder):
        rows.setdefault(_short(path), text)
    cells = [[code(path), sentence(text.replace("\n", " "))] for path, text in rows.items()]
    where = "" if folder.path == root else f"In `{_short(folder.path)}`.\n\n"
    return f"## {title}\n\n{where}{table(['File', 'What it is'], cells)}"


def _short(path: Path) -> str:
    """From the study's folder on; a folder's ends in a bar."""
    text = path.relative_to(_ROOT).as_posix()
    is_file = path.suffix or path.name.startswith(".")
    return text if is_file else f"{text}/"
