"""A training script of the user's own: how a trial calls it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from sweeper.errors import UsageError

PLACEHOLDERS = ("micro_batch", "gradient_accumulation", "ds_config", "local_rank")
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


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


def placeholders(arguments: str) -> set[str]:
    """Those in ``arguments``. Raises UsageError for one that there is not."""
    found = set(_PLACEHOLDER.findall(arguments))
    for name in sorted(found - set(PLACEHOLDERS)):
        allowed = ", ".join(f"{{{known}}}" for known in PLACEHOLDERS)
        raise UsageError(
            f"script.args={arguments}: there is no {{{name}}}; allowed are {allowed}; type for "
            "example 'script.args=\"--batch-size {micro_batch}\"'"
        )
    return found


def words(arguments: str, values: Mapping[str, object]) -> list[str]:
    """The words of ``arguments`` as a shell splits them, with the placeholders filled in."""
    return [
        _PLACEHOLDER.sub(lambda match: str(values[match.group(1)]), word)
        for word in shlex.split(arguments)
    ]
