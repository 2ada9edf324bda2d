"""Calls that may never return, waited for no longer than is asked."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class Background(Generic[Answer]):
    """A call in a thread of its own, left behind where it hangs: a dead network file system never answers.

    The interpreter does not wait for such a thread when it ends.
    """

    def __init__(self, call: Callable[[], Answer]) -> None:
        self._call = call
        self._answer: queue.SimpleQueue[tuple[Answer | None, Exception | None]] = (
            queue.SimpleQueue()
        )
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            self._answer.put((self._call(), None))
        except Exception as error:
            self._answer.put((None, error))

    def result(self, timeout_seconds: float) -> Answer:
        """Once only. Raises what the call raised, and TimeoutError."""
        try:
            answer, error = self._answer.get(timeout=timeout_seconds)
        except queue.Empty:
            raise TimeoutError(f"no answer within {timeout_seconds:g} s") from None
        if error is not None:
            raise error
        return answer  # type: ignore[return-value]
