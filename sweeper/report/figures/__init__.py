"""The pictures of a study, each as a PNG and an SVG, with what is seen in words."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import matplotlib

from sweeper.core.files import make_folder
from sweeper.core.prediction import Prediction
from sweeper.core.standing import Standing
from sweeper.report.figure import Figure
from sweeper.report.figures import (
    best_so_far,
    explained,
    finalists,
    losses,
    parallel_coordinates,
    predicted_memory,
    throughput_memory,
    throughput_micro_batch,
)
from sweeper.report.figures.frame import STYLE, Facts, save

Attempt: TypeAlias = Callable[[str, Callable[[], Figure | None], None], Figure | None]
_PICTURES = (
    throughput_memory,
    finalists,
    best_so_far,
    parallel_coordinates,
    throughput_micro_batch,
    explained,
    predicted_memory,
    losses,
)


def draw_figures(
    how: Standing,
    folder: Path,
    *,
    explained_by: Mapping[str, float],
    predictions: Mapping[int, Prediction],
    attempt: Attempt = lambda _, draw, __: draw(),
) -> tuple[Figure, ...]:
    """Writes each picture that there is something to draw for into ``folder``; the most telling first.

    ``explained_by``: option -> its share in how throughputs differ; ``predictions`` by trial number. Each is
    drawn by an ``attempt`` of its own, under its name. What an earlier report drew and this one does not is
    taken away.
    """
    make_folder(folder)
    facts = Facts(how=how, explained=explained_by, predictions=predictions)
    with matplotlib.rc_context(STYLE):
        found = [
            attempt(
                f"the picture {module.__name__.rpartition('.')[2]}",
                functools.partial(_drawn, module, facts, folder),
                None,
            )
            for module in _PICTURES
        ]
    drawn = tuple(figure for figure in found if figure is not None)
    kept = {path for figure in drawn for path in (figure.png, figure.svg)}
    for path in (*folder.glob("*.png"), *folder.glob("*.svg")):
        if path not in kept:
            path.unlink()
    return drawn


def _drawn(module: Any, facts: Facts, folder: Path) -> Figure | None:
    picture = module.picture(facts)
    return None if picture is None else save(picture, folder)
