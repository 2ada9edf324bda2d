"""From an exception in a rank to what its result says."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import Any

from sweeper.core.memory_errors import memory_reason, memory_that_ran_out
from sweeper.core.one_line import one_line

# Of DeepSpeed's classes, where their names are not the sections'.
_SECTIONS = {"Zero": "zero_optimization", "FP16": "fp16", "BF16": "bf16"}
_OF_A_LOADER = "Original Traceback (most recent call last)"


class UnsupportedHere(Exception):
    """The trial needs something that this machine does not have."""


def failure(error: BaseException, *, phase: str, limited: bool) -> dict[str, Any]:
    """The result of a rank that ended with ``error``; ``limited``: under a limit on its memory."""
    first_line = one_line(refused_keys(error) or _said(error)) or type(error).__name__
    if isinstance(error, UnsupportedHere):
        return {"kind": "unsupported", "phase": phase, "reason": first_line}
    memory = ran_out_of_memory(error, limited=limited)
    if memory is not None:
        return {
            "kind": "out-of-memory",
            "phase": phase,
            "memory": memory,
            "reason": one_line(memory_reason(_said(error))) or first_line,
        }
    return {
        "kind": "error",
        "phase": phase,
        "reason": f"{type(error).__name__}: {first_line}",
        "evidence": _evidence(error)[-8000:],
    }


def text_of(error: BaseException) -> str:
    """An exception's own words, where it has any: they are the script's code."""
    try:
        return str(error)
    except BaseException as other:
        return f"its text cannot be had ({type(other).__name__})"


def _said(error: BaseException) -> str:
    """What a process of a data loader raised comes with all of its traceback."""
    text = text_of(error)
    if _OF_A_LOADER not in text:
        return text
    return f"{text.strip().splitlines()[-1]} (in a process of its data loader)"


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and what it was raised from or while."""
    seen: list[BaseException] = []
    while error is not None and not any(e is error for e in seen):
        seen.append(error)
        yield error
        try:
            error = error.__cause__ or error.__context__
        except BaseException:
            return


def _evidence(error: BaseException) -> str:
    try:
        told = "".join(traceback.format_exception(error))
    except BaseException:
        told = "".join(traceback.format_tb(error.__traceback__))
    return told.encode(errors="backslashreplace").decode()


def refused_keys(error: BaseException) -> str:
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
    title = str(getattr(error, "title", "")).removeprefix("DeepSpeed").removesuffix("Config")
    section = _SECTIONS.get(title, title)
    told = "; ".join(f"{', '.join(keys)}: {reason}" for reason, keys in by_reason.items())
    return f"its section {section} is refused by DeepSpeed: {told}"


def ran_out_of_memory(error: BaseException, *, limited: bool) -> str | None:
    """``"device"``, ``"host"``, or None where it is another error."""
    # DeepSpeed and torch wrap: an allocation that failed may stand further down the chain.
    for seen in chain(error):
        if isinstance(seen, MemoryError):
            return "host"
        memory = memory_that_ran_out(text_of(seen), limited=limited)
        if memory is None and type(seen).__name__ == "OutOfMemoryError":
            memory = "device"
        if memory is not None:
            return "host" if _pinned(seen) else memory
    return None


def _pinned(error: BaseException) -> bool:
    """Whether it was page-locked memory of the host that CUDA could not give: it says so in a device's words."""
    last = traceback.extract_tb(error.__traceback__)[-2:]
    return any("pin_memory" in frame.name or "pin_memory" in (frame.line or "") for frame in last)
