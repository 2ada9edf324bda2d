"""What Ctrl-C and kill do to a study: once ends it after the trial in hand, twice (or kill) at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from sweeper.run.study_lock import why_gone

AFTER_THIS_TRIAL = "stopping after this trial; Ctrl-C again stops now"
NOW = "stopping now"
WHILE_WRITING = "the report is being written; Ctrl-C again leaves it half done"

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Takes the two signals over until it is left; ``say`` is called within a signal handler.

    What ends at once is told by a KeyboardInterrupt, and only once: ending a trial's processes and
    writing the report are not broken off by a third Ctrl-C.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._writing = False
        self._raised = False
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        # Signals are the main thread's; elsewhere they go on doing what they did.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._on) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def must_end(self) -> bool:
        """Whether the study is to end before its next trial."""
        return self.asked

    def end_where_asked(self) -> None:
        """Between two trials. Raises KeyboardInterrupt where the user wants an end there."""
        if self.asked:
            self._raised = True
            raise KeyboardInterrupt

    def writing(self) -> None:
        """From here on there is no trial to stop: only the report is left."""
        self._writing, self._raised, self.asked = True, False, False

    def _on(self, number: int, frame: FrameType | None) -> None:
        if self._raised:
            return
        if number == signal.SIGTERM and why_gone() is not None:
            self._raised = True
            raise KeyboardInterrupt  # nobody typed anything: the one line is told where this ends
        if not self.asked and (self._writing or number == signal.SIGINT):
            self.asked = True
            self._say(WHILE_WRITING if self._writing else AFTER_THIS_TRIAL)
            return
        self._raised = True
        self._say(NOW)
        raise KeyboardInterrupt
