"""The page of outcomes: how a trial, and how a command, can end."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import fields
from typing import get_args

from docs.generate.markdown import code, page, sentence, table
from sweeper import errors
from sweeper.core.outcome import Measured, Outcome, Stopped, name_of_kind

_INTRODUCTION = """\
A trial that fails is a row with a reason. How it ended is decided by what each rank wrote, never by words in
a log: out of memory on any rank comes before the connection errors that it causes in the others, and a
rank that wrote nothing crashed, whatever its exit code was, unless the kernel killed it for want of memory, or it
aborted and was last seen with less than a tenth of its memory limit left."""

_TOLD = """\
Optuna is told of what was measured as complete, stopped trials with their estimate; of crashes as failed; of all
else as pruned with a constraint above 0, the more the farther off it is."""


def outcomes_page() -> str:
    """From the union of outcomes and the errors that end a command."""
    rows = [[code(name_of_kind(cls)), _text(cls), _fields(cls)] for cls in get_args(Outcome)]
    codes = [["0", "", "It did what was asked; a study has a winner"], *_codes()]
    return page(
        "Outcomes and exit codes",
        "## Of a trial",
        _INTRODUCTION,
        table(["Outcome", "What happened", "What is recorded"], rows),
        _TOLD,
        "## Of a command",
        "An error is one line: what was given, what is allowed, what to type. A traceback is a bug.",
        table(["Exit code", "Name", "What it means"], codes),
    )


def _text(cls: type) -> str:
    return sentence((cls.__doc__ or "").split("\n\n")[0])


def _fields(cls: type) -> str:
    if cls in (Measured, Stopped):
        names = [f.name for f in fields(cls)]
        return (
            ", ".join(map(code, names)) + ": raw step times, losses, memory of each rank and phase"
        )
    return ", ".join(code(f.name) for f in fields(cls))


def _codes() -> Iterator[list[str]]:
    found = [cls for _, cls in inspect.getmembers(errors, inspect.isclass)]
    classes = [cls for cls in found if issubclass(cls, errors.SweeperError)]
    for cls in sorted(classes, key=lambda cls: cls.exit_code):
        yield [str(cls.exit_code), code(cls.__name__), _text(cls)]
