"""``sweeper.load``: the trials of studies as one pandas DataFrame, for people's own scripts."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pandas as pd

from sweeper.core.folder import StudyFolder
from sweeper.errors import UsageError
from sweeper.report.table import trials_table
from sweeper.run.left_out import left_out

_TYPE = 'type sweeper.load("results/<study>")'


def load(*studies: str | os.PathLike[str]) -> pd.DataFrame:
    """One row for each trial that has ended, in the columns that ``docs/trials-table.md`` describes.

    It reads the trials' own folders, so it also works while a study runs, and needs no report.
    Of several studies the rows follow one another, told apart by the column ``study``; compare
    only rows in which ``environment`` is the same.

    A warning says of a damaged record that its trial is left out.

    Raises UsageError, in one line, for a folder that is not there or is no study's.
    """
    if not studies:
        raise UsageError(f"load(): no study was given; {_TYPE}, with as many folders as you like")
    folders = [_study(given) for given in studies]
    for line in (line for folder in folders for line in left_out(folder)):
        warnings.warn(line, stacklevel=2)
    names = [folder.name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder.path) for folder in folders]  # two folders of one name
    return trials_table(
        {name: folder.read_trials() for name, folder in zip(names, folders, strict=True)}
    )


def _study(given: str | os.PathLike[str]) -> StudyFolder:
    folder = StudyFolder(Path(given))
    if not folder.path.is_dir():
        raise UsageError(f"load({str(given)!r}): there is no such folder; {_TYPE}")
    if not folder.study.is_file() and not folder.trials.is_dir():
        raise UsageError(
            f"load({str(given)!r}): there is no study in this folder (no study.yaml, no trials/); "
            f"{_TYPE}"
        )
    return folder
