"""Tells the callbacks of a study what happens, and keeps the study safe from them."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from sweeper.callbacks.contract import Callback, StudyBegun
from sweeper.core.extras import install_line
from sweeper.core.folder import StudyFolder
from sweeper.core.plan import Plan
from sweeper.core.space import Point
from sweeper.core.study import Runner
from sweeper.core.trial import Trial
from sweeper.errors import UsageError


class Followed:
    """A study's callbacks; a context that ends them, however the study ends.

    It is a Runner too, which tells them of each trial.
    """

    def __init__(self, callbacks: Mapping[str, Callback], say: Callable[[str], None]) -> None:
        self._callbacks = dict(callbacks)
        self._say = say
        self._baseline: Trial | None = None
        self._runner: Runner | None = None
        self._folder: StudyFolder | None = None

    def begin(
        self, folder: StudyFolder, facts: Mapping[str, Any], finished: Sequence[Trial]
    ) -> None:
        """A study that goes on tells its ``finished`` trials again, so that what follows it is whole."""
        self._folder = folder
        known = {name: str(value) for name, value in facts.items() if value is not None}
        begun = StudyBegun(name=folder.name, folder=folder.path, facts=known)
        self._tell("begin", lambda callback: callback.begin(begun))
        for trial in finished:
            self._ended(trial)

    def following(self, runner: Runner) -> Followed:
        self._runner = runner
        return self

    def run(self, number: int, point: Point, plan: Plan) -> Trial:
        assert self._runner is not None
        trial = self._runner.run(number, point, plan)
        self._ended(trial)
        return trial

    def __enter__(self) -> Followed:
        return self

    def __exit__(self, *_: object) -> None:
        folder = self._folder
        if folder is not None:
            self._tell("end", lambda callback: callback.end(_records().study_ended(folder)))

    def _ended(self, trial: Trial) -> None:
        baseline = self._baseline = self._baseline or trial
        self._tell(
            f"trial {trial.number}",
            lambda callback: callback.trial(_records().trial_ended(trial, baseline)),
        )

    def _tell(self, when: str, what: Callable[[Callback], None]) -> None:
        for name, callback in list(self._callbacks.items()):
            try:
                what(callback)
            except Exception as error:  # whatever it is: a tracking server must not end a study
                del self._callbacks[name]
                said = _first_line(error)
                self._say(f"note: callbacks.{name} failed ({when}) and is left out: {said}")


def _records() -> ModuleType:
    """Brings pandas, which a study without callbacks does not wait for."""
    return importlib.import_module("sweeper.callbacks.records")


def make_callbacks(chosen: Mapping[str, Mapping[str, Any]]) -> dict[str, Callback]:
    """By the ``_target_`` of each. Raises UsageError for one that cannot be had."""
    return {name: _make(name, dict(options)) for name, options in chosen.items()}


def _make(name: str, options: dict[str, Any]) -> Callback:
    made = _class(name, str(options.pop("_target_", "")))
    try:
        inspect.signature(made).bind(**options)
    except TypeError as error:
        allowed = ", ".join(inspect.signature(made).parameters) or "none"
        raise UsageError(
            f"callbacks.{name}: {error}; its options are {allowed}; type callbacks={name} alone"
        ) from error
    try:
        callback: Callback = made(**options)
    except Exception as error:
        given = ", ".join(f"{option}={value}" for option, value in options.items())
        raise UsageError(
            f"callbacks={name} cannot be made with {given or 'no option'}: {_first_line(error)}; "
            f"type another callbacks.{name}.<option>=, or leave callbacks out"
        ) from error
    return callback


def _class(name: str, target: str) -> Any:
    module_name, _, class_name = target.rpartition(".")
    try:
        return getattr(importlib.import_module(module_name), class_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{target}.".startswith(f"{error.name}."):
            raise UsageError(_no_such(name, target)) from error
        package = str(error.name).partition(".")[0]
        ours = target.startswith("sweeper.callbacks.")
        install = install_line(name) if ours else f"pip install {package}"
        raise UsageError(
            f"callbacks={name} needs the package {package}, which is not installed; "
            f"type {install}, or leave callbacks out"
        ) from error
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(_no_such(name, target)) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _no_such(name: str, target: str) -> str:
    return (
        f"callbacks.{name}._target_={target}: no such class; type callbacks=mlflow, wandb or "
        "tensorboard, or give package.module.Class with begin, trial and end"
    )
