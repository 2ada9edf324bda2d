"""A training script of the user's own: how a trial calls it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper.errors import UsageError

PROBE_SECONDS = 300.0
PLACEHOLDERS = ("micro_batch", "gradient_accumulation", "ds_config", "local_rank")
# {{name}} is {name} to the script; ${name}, and braces around anything else, are the script's.
_BRACED = re.compile(r"\{\{([A-Za-z_][\w-]*)\}\}|(?<!\$)\{([A-Za-z_][\w-]*)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptSpec:
    """``arguments`` is one line, as it is typed in a shell; it may hold placeholders.

    ``module`` is the name by which the file at ``path`` is run, as ``python -m`` does, if by any.

    ``ds_config`` is the file that ``{ds_config}`` starts from. ``as_it_is``: of the script's own configuration only
    what was ``typed`` (settings, or groups of them) is substituted. ``ignored`` are settings at which DeepSpeed
    does not look beside the trial's others. ``reseed``: the training's own random numbers are others, from a seed so much
    larger. The rest is what ``core.settings`` says of it.
    """

    path: str
    arguments: str
    folder: str
    ds_config: str | None = None
    as_it_is: bool = False
    typed: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    engine: int | None = None
    samples: str | None = None
    units_per_sample: float | None = None
    engine_accumulation: int | None = None
    steps_grow: bool = False
    probe_seconds: float = PROBE_SECONDS
    reseed: int = 0
    module: str | None = None


def script_from_json(document: Mapping[str, Any]) -> ScriptSpec:
    """The inverse of ``asdict``; lists are tuples again."""
    values: dict[str, Any] = {
        n: tuple(v) if isinstance(v, list) else v for n, v in document.items()
    }
    return ScriptSpec(**values)


def called(path: str, module: str | None) -> str:
    """What a script is called in a sentence."""
    if module:
        return module
    name = Path(path).name
    return f"{Path(path).absolute().parent.name}/{name}" if name == "__main__.py" else name


def typed_as(path: str, module: str | None) -> str:
    """How it is named to the command."""
    return f"'+script=-m {module}'" if module else f"+script={path}"


def check_arguments(arguments: str) -> None:
    """Raises UsageError for a line that a shell would not take, or a placeholder that there is not."""
    try:
        shlex.split(arguments)
    except ValueError as error:
        raise UsageError(
            f"script.args={arguments}: does not come apart into words ({error}); quote it as in a "
            'shell: type for example \'script.args="--name \\"two words\\""\''
        ) from error
    for name in sorted(placeholders(arguments) - set(PLACEHOLDERS)):
        allowed = ", ".join(f"{{{known}}}" for known in PLACEHOLDERS)
        raise UsageError(
            f"script.args={arguments}: there is no {{{name}}}; allowed are {allowed}; type for "
            "example 'script.args=\"--batch-size {micro_batch}\"', "
            f"or {{{{{name}}}}} where the script is to have the braces"
        )


def placeholders(arguments: str) -> set[str]:
    """The names in ``arguments``."""
    return {match.group(2) for match in _BRACED.finditer(arguments) if match.group(2)}


def words(arguments: str, values: Mapping[str, object]) -> list[str]:
    """The words of ``arguments`` as a shell splits them, with the placeholders filled in."""

    def filled(match: re.Match[str]) -> str:
        literal, name = match.groups()
        return f"{{{literal}}}" if literal else str(values[name])

    return [_BRACED.sub(filled, word) for word in shlex.split(arguments)]
