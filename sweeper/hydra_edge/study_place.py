"""The folder that Hydra's configuration names, as this process's own from here on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, open_dict, read_write

from sweeper.core.folder import StudyFolder
from sweeper.core.hydra_text import quoted, without_interpolations
from sweeper.errors import UsageError
from sweeper.run.study_lock import make_new, own_until_the_end


def place_of(config: DictConfig) -> tuple[StudyFolder, str, list[Path]]:
    """Of a study or a grid: its folder, how it is typed, and what was made for it.

    Made here where the name is ours: who else starts in this second gets another, in ``config`` too.
    """
    path = Path(str(config.hydra.sweep.dir))
    if _is_typed(config, "hydra.sweep.dir"):
        return StudyFolder(path), f"hydra.sweep.dir={path}", []
    placed, made = make_new(path)
    if placed != path:
        _set(config, "sweep", str(placed))
    return StudyFolder(placed), f"hydra.sweep.dir={placed}", made


def refuse_a_second(folder: StudyFolder) -> None:
    """Raises UsageError where there is a study already."""
    if folder.study.exists():
        raise UsageError(
            f"hydra.sweep.dir={folder.path}: there is a study in this folder; "
            "type hydra.sweep.dir=<another folder>, or leave it out for a new one"
        )


def own_grid(config: DictConfig) -> None:
    """Raises UsageError where somebody else writes there, or a study is."""
    folder, typed, made = place_of(config)
    own_until_the_end(folder, what="grid", typed=typed, made=made)
    refuse_a_second(folder)


def own_run(config: DictConfig) -> None:
    """One trial is a study of one; where its folder is typed, that is all there is. Raises UsageError."""
    path = Path(str(config.hydra.run.dir))
    made: Sequence[Path] = ()
    if _is_typed(config, "hydra.run.dir"):
        folder = StudyFolder(path)
    else:
        study = path.parent.parent
        placed, made = make_new(study)
        folder = StudyFolder(placed)
        if placed != study:
            _set(config, "run", str(folder.trial(0).path))
    own_until_the_end(folder, what="trial", typed=f"hydra.run.dir={path}", made=made)


def _is_typed(config: DictConfig, name: str) -> bool:
    overrides: Any = config.hydra.overrides.hydra
    return any(str(o).lstrip("+").startswith(f"{name}=") for o in overrides)


def _set(config: DictConfig, mode: str, path: str) -> None:
    """Here, and for the jobs, whose configurations are composed anew."""
    with read_write(config), open_dict(config):
        config.hydra[mode].dir = path
        config.hydra.overrides.hydra.append(
            f"hydra.{mode}.dir={quoted(without_interpolations(path))}"
        )
