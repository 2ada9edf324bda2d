"""What of a report or an export could not be made: a line for its readers, a traceback for its makers."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from sweeper.core.files import make_way
from sweeper.core.folder import StudyFolder
from sweeper.errors import SweeperError, masked

T = TypeVar("T")


class Failures:
    """Of one report or one export, kept from costing more than what failed."""

    def __init__(self, folder: StudyFolder) -> None:
        self._log: Path = folder.errors
        self._whys: dict[str, str] = {}
        # Lines on what of the study is damaged: no failure of ours.
        self.left_out: Sequence[str] = ()

    def begin(self) -> Failures:
        """Those of an earlier report are no longer so."""
        with contextlib.suppress(OSError):
            make_way(self._log)
            self._log.unlink(missing_ok=True)
        return self

    @property
    def lines(self) -> list[str]:
        """One for each thing."""
        return [f"{what} {why}" for what, why in self._whys.items()]

    def why(self, what: str) -> str | None:
        """Could ``what`` not be made; None where it could."""
        return self._whys.get(what)

    def attempt(self, what: str, make: Callable[[], T], otherwise: T) -> T:
        """What ``make`` returns; ``otherwise``, and a line, where it fails in whatever way."""
        try:
            return make()
        except Exception as error:
            self._whys[what] = f"could not be made: {self._said(what, error)}"
            return otherwise

    def _said(self, what: str, error: Exception) -> str:
        """Of a bug the traceback is kept."""
        if isinstance(error, SweeperError):
            return str(error)
        if isinstance(error, OSError) and error.strerror:
            return f"{error.strerror}{f': {error.filename}' if error.filename else ''}"
        said = " ".join(str(error).split())
        why = f"{type(error).__name__}{': ' if said else ''}{said}"
        return f"{why} ({self._log} has more)" if self._keep(what, error) else why

    def _keep(self, what: str, error: Exception) -> bool:
        text = "".join(traceback.format_exception(error))
        try:
            with self._log.open("a", encoding="utf-8", errors="backslashreplace") as log:
                log.write(masked(f"{what}\n{text}\n"))
        except OSError:
            return False
        return True
