"""From an exception in a rank to what its result says."""

from __future__ import annotations

import traceback
from typing import Any

from sweeper.core.memory_errors import memory_reason, memory_that_ran_out


class UnsupportedHere(Exception):
    """The trial needs something that this machine does not have."""


def failure(error: BaseException, *, phase: str, limited: bool) -> dict[str, Any]:
    """The result of a rank that ended with ``error``; ``limited``: under a limit on its memory."""
    first_line = (
        _refused_keys(error) or (str(error).strip() or type(error).__name__).splitlines()[0]
    )
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


def _refused_keys(error: BaseException) -> str:
    """What DeepSpeed's configuration classes refuse, all of it: "" of another error."""
    if type(error).__name__ != "ValidationError" or not hasattr(error, "errors"):
        return ""
    found = [
        (".".join(map(str, e["loc"])) or str(getattr(error, "title", "")), e["msg"])
        for e in error.errors()
    ]
    by_reason: dict[str, list[str]] = {}
    for key, reason in found:
        by_reason.setdefault(reason, []).append(key)
    section = str(getattr(error, "title", "")).removeprefix("DeepSpeed").removesuffix("Config")
    told = "; ".join(f"{', '.join(keys)}: {reason}" for reason, keys in by_reason.items())
    return f"its section {section} is refused by DeepSpeed: {told}"


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
