"""A limit on a script that runs, which may be moved: one thread looks, so that none ends while the script forks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

LOOK_EVERY_SECONDS = 0.2


class Deadline:
    """Calls what it was last set with, once, when its seconds are over; lifted it waits to be set again."""

    def __init__(self) -> None:
        self._set: tuple[float, Callable[[], None]] | None = None
        self._thread: threading.Thread | None = None

    @property
    def is_watched(self) -> bool:
        """Whether it was ever set."""
        return self._thread is not None

    def set(self, seconds: float, over: Callable[[], None]) -> None:
        """From now on."""
        self._set = (time.monotonic() + seconds, over)
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, daemon=True)
            self._thread.start()

    def lift(self) -> None:
        """Until it is set again."""
        self._set = None

    def _look(self) -> None:
        while True:
            time.sleep(LOOK_EVERY_SECONDS)
            now = self._set
            if now is not None and time.monotonic() >= now[0]:
                now[1]()
                return
