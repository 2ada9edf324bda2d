"""Where a script has its configuration from: what a winner's is to be put in the place of."""

from __future__ import annotations

import os.path
from typing import Any


class Shown:
    """The outermost place counts: frameworks hand on what they were given."""

    def __init__(self) -> None:
        self._seen: dict[str, Any] = {}
        self.parses_arguments = False

    def see(self, framework: str | None, given: Any) -> None:
        """``given`` is a path, a configuration, or None where it comes from the environment."""
        if self._seen:
            return
        is_file = isinstance(given, str | os.PathLike) and os.path.isfile(given)
        self._seen = {
            "framework": framework,
            "config_file": os.fspath(given) if is_file else None,
            "config_in_code": given is not None and not is_file,
        }

    @property
    def facts(self) -> dict[str, Any]:
        return {**self._seen, "parses_arguments": self.parses_arguments}
