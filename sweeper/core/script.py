"""A training script of the user's own: how a trial calls it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from sweeper.errors import UsageError

PLACEHOLDERS = ("micro_batch", "gradient_accumulation", "ds_config", "local_rank")
# {{name}} is {name} to the script; ${name}, and braces around anything else, are the script's.
_BRACED = re.compile(r"\{\{([A-Za-z_][\w-]*)\}\}|(?<!\$)\{([A-Za-z_][\w-]*)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptSpec:
    """``arguments`` is one line, as it is typed in a shell; it may hold placeholders.

    ``ds_config`` is the file that ``{ds_config}`` starts from. ``as_it_is``: nothing of the script's own
    configuration is substituted.
    """

    path: str
    arguments: str
    folder: str
    ds_config: str | None = None
    as_it_is: bool = False


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
