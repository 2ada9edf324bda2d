"""What ``+script=`` names: a file, a module, or a folder that Python can run."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from sweeper.core.commands_in_shell import python_command
from sweeper.core.modules import MAIN, NoSuchModule, is_module_name, module_file
from sweeper.core.script_source import arguments_typed, check_source
from sweeper.errors import UsageError

MODULE_OPTIONS = ("-m", "--module")


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedScript:
    """``module`` is the name that ``path`` is run by; None where it is run as a file."""

    path: Path
    module: str | None = None


def named_script(given: str, *, typed: str, folder: Path) -> NamedScript:
    """What ``given`` stands for in ``folder``. Raises UsageError where that is no Python that can be run."""
    named = _named(given, typed, folder)
    check_source(named.path, typed=typed, folder=folder, is_module=named.module is not None)
    return named


def _named(given: str, typed: str, folder: Path) -> NamedScript:
    first, _, rest = given.partition(" ")
    if first in MODULE_OPTIONS:
        return _module(rest.strip(), typed, folder)
    path = (folder / Path(given).expanduser()).absolute()
    if path.is_file():
        return NamedScript(path=path)
    if path.is_dir() and not (is_module_name(given) and (path / "__init__.py").is_file()):
        return NamedScript(path=_main_of(path, typed))
    if not given.endswith(".py") and is_module_name(given):
        return _module(given, typed, folder, or_file=True)
    raise UsageError(f"{typed}: there is no such file{_meant(given, path)}")


def _main_of(path: Path, typed: str) -> Path:
    if (path / MAIN).with_suffix(".py").is_file():
        return path / f"{MAIN}.py"
    raise UsageError(
        f"{typed}: is a folder; type +script=train.py with the path of a training script in it"
    )


def _module(name: str, typed: str, folder: Path, *, or_file: bool = False) -> NamedScript:
    words = name.split(" ")
    name = words[0]
    if len(words) > 1:
        rest = " ".join(words[1:])
        raise UsageError(
            f"{typed}: arguments stand by themselves; type '+script=-m {name}' {arguments_typed(rest)}"
        )
    if not name or not is_module_name(name):
        raise UsageError(
            f"{typed}: {name or 'nothing'} is no module's name; type '+script=-m pkg.train'"
        )
    try:
        return NamedScript(path=module_file(name, folder), module=name)
    except NoSuchModule as error:
        no_file = "there is no such file, and as a module: " if or_file else ""
        raise UsageError(
            f"{typed}: {no_file}{error}; type +script=train.py with a training script's path, or "
            "'+script=-m pkg.train' where python -m pkg.train would start it"
        ) from error


def _meant(given: str, path: Path) -> str:
    """What to type for a path without its suffix, a command line, or none of both."""
    if path.with_name(path.name + ".py").is_file():
        return f"; type +script={given}.py"
    command = python_command(given) or python_command(f"python {given}")
    if " " in given and command is not None:
        script = f"+script={command.program}"
        return f": it is a command line; type {shlex.quote(script)} {arguments_typed(command.line)}"
    return "; type +script=train.py with a training script's path"
