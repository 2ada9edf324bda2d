"""Opens Optuna's storages: a URL, ``journal:PATH``, an object of a class of its, or a study's own journal."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend

from sweeper.core.files import make_folder
from sweeper.errors import UsageError
from sweeper.search.named import class_of, made

# As it is configured; a mapping is {_target_: optuna.storages.RDBStorage, url: ...}. None is the journal.
Configured: TypeAlias = str | Mapping[str, Any] | None
_JOURNAL = "journal:"
_FROM_ENVIRONMENT = re.compile(r"\$\{oc\.env:([^},]+)(?:,([^}]*))?\}")
# Of Optuna's classes, what says where they keep a study.
_PLACES = {"url": "", "file_path": _JOURNAL}


def open_storage(storage: Configured, journal: Path) -> BaseStorage:
    """Raises UsageError for one that cannot be had."""
    if storage is None:
        make_folder(journal.parent)
        return JournalStorage(JournalFileBackend(str(journal)))
    try:
        if isinstance(storage, Mapping):
            return _made(storage)
        if storage.startswith(_JOURNAL):
            path = storage.removeprefix(_JOURNAL)
            if not path:
                raise ValueError("no path was given")
            return JournalStorage(JournalFileBackend(path))
        return optuna.storages.get_storage(storage)
    except Exception as error:
        raise UsageError(no_storage(storage, error)) from error


def _made(config: Mapping[str, Any]) -> BaseStorage:
    built = made(config)
    if not isinstance(built, BaseStorage):
        raise TypeError(f"{config.get('_target_', 'without a _target_ it')} is no storage")
    return built


def check_storage(storage: Configured) -> None:
    """Raises UsageError for one that cannot be had; makes no file."""
    if storage is None:
        return
    if isinstance(storage, Mapping):
        _check_object(storage, storage)
        return
    if not isinstance(storage, str):
        raise UsageError(no_storage(storage, "is no text"))
    file = _file_of(storage)
    if file is None or file.exists():
        open_storage(storage, Path())
    elif not file.parent.is_dir() or not os.access(file.parent, os.W_OK):
        why = "may not be written" if file.parent.is_dir() else "is no folder"
        raise UsageError(no_storage(storage, f"{file.parent} {why}"))


def _check_object(node: Mapping[str, Any], whole: Mapping[str, Any]) -> None:
    """As far as that goes without making it: some make a file."""
    try:
        class_of(str(node.get("_target_", "")))
    except Exception as error:
        raise UsageError(
            no_storage(whole, f"there is no _target_ {node.get('_target_')}")
        ) from error
    for name, value in node.items():
        if name in _PLACES and isinstance(value, str):
            check_storage(f"{_PLACES[name]}{value}")
        elif isinstance(value, Mapping) and "_target_" in value:
            _check_object(value, whole)


def _file_of(storage: str) -> Path | None:
    """Where a storage in a file is; None for one elsewhere."""
    for scheme in (_JOURNAL, "sqlite:///"):
        if storage.startswith(scheme) and (path := storage.removeprefix(scheme)):
            return Path(path.partition("?")[0]) if scheme != _JOURNAL else Path(path)
    return None


def no_storage(storage: Any, why: object) -> str:
    """The line for a storage that is not to be had."""
    lines = str(why).splitlines() or [type(why).__name__]
    return (
        f"hydra.sweeper.storage={storage}: {lines[0]}; allowed are a database URL, "
        "journal:PATH and null (a journal in the study's folder); "
        "type for example hydra.sweeper.storage=sqlite:///study.db"
    )


def opened_storage(recorded: Any) -> Configured:
    """What study.yaml tells of; None where what it lacks is not here: a variable, or a password."""
    if isinstance(recorded, Mapping):
        opened = {name: _filled_in(value) for name, value in recorded.items()}
        return None if None in [opened[n] for n, v in recorded.items() if v is not None] else opened
    filled = _filled_in(str(recorded))
    return filled if isinstance(filled, str) else None


def _filled_in(value: Any) -> Any:
    """None for text that lacks something."""
    if isinstance(value, Mapping):
        return opened_storage(value)
    if not isinstance(value, str):
        return value
    missing = False

    def found(match: re.Match[str]) -> str:
        nonlocal missing
        given = os.environ.get(match[1].strip(), match[2])
        missing |= given is None
        return (given or "").strip().strip("'\"")

    text = _FROM_ENVIRONMENT.sub(found, value)
    return None if missing or "${" in text or "***" in text else text
