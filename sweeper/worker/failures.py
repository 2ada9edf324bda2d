"""From an exception in a rank to what its result says."""

from __future__ import annotations

import traceback
from typing import Any

from sweeper.core.memory_errors import memory_reason, memory_that_ran_out


class UnsupportedHere(Exception):
    """The trial needs something that this machine does not have."""


def failure(error: BaseException, *, phase: str, limited: bool) -> dict[str, Any]:
    """The result of a rank that ended with ``error``; ``limited``: under a limit on its memory."""
    lines = (str(error).strip() or type(error).__name__).splitlines()
    # DeepSpeed's configuration classes say how many are wrong, then which key, then why.
    first_line = ": ".join(map(str.strip, lines[: 3 if _is_validation(error) else 1]))
    if isinstance(error, UnsupportedHere):
        return {"kind": "unsupported", "phase": phase, "reason": first_line}
    memory = ran_out_of_memory(error, limited=limited)
    if memory is not None:
        return {
            "kind": "out-of-memory",
            "phase": phase,
            "memory": memory,
            "reason": memory_reason(first_line),
        }
    return {
        "kind": "error",
        "phase": phase,
        "reason": f"{type(error).__name__}: {first_line}",
        "evidence": "".join(traceback.format_exception(error))[-8000:],
    }


def _is_validation(error: BaseException) -> bool:
    return type(error).__name__ == "ValidationError"


def ran_out_of_memory(error: BaseException, *, limited: bool) -> str | None:
    """``"device"``, ``"host"``, or None where it is another error."""
    # DeepSpeed and torch wrap: an allocation that failed may stand further down the chain.
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MemoryError):
            return "host"
        if (memory := memory_that_ran_out(str(seen), limited=limited)) is not None:
            return memory
        if type(seen).__name__ == "OutOfMemoryError":
            return "device"
        seen = seen.__cause__ or seen.__context__
    return None
