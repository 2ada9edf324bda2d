"""The words in which torch, its libraries and Python say that memory could not be had."""

from __future__ import annotations

import re

from sweeper.core.quantities import format_bytes

_HOST_MESSAGES = (
    "defaultcpuallocator: can't allocate memory",
    "defaultcpuallocator: not enough memory",
    "std::bad_alloc",
    "cannot allocate memory",
    "could not allocate memory",
    "unable to allocate",
)
_DEVICE_MESSAGES = (
    "cuda out of memory",  # torch's allocator
    "cuda error: out of memory",  # the runtime
    "cuda driver error: out of memory",  # expandable segments
    "triton error [cuda]: out of memory",
    "cublas_status_alloc_failed",
    # What cuBLAS says where its workspace finds no room (pytorch#76264).
    "cublas_status_not_initialized when calling `cublascreate",
    "cudnn_status_alloc_failed",
    "device_allocation_failed",  # cuDNN 9
    "hip out of memory",
)
# NCCL's, where torch's cache has taken all and a communicator is made: with the runtime's number, or without.
_OF_NCCL = re.compile(r"cuda failure (?:\d+ )?'out of memory'")

# A thread that cannot be started: under a limit on memory it is its stack that was refused.
_THREAD_MESSAGES = ("resource temporarily unavailable", "can't start new thread")


def memory_that_ran_out(text: str, *, limited: bool = False) -> str | None:
    """``"device"``, ``"host"``, or None where the text tells of no lack of memory.

    ``limited`` says that the process was held to a limit on its memory.
    """
    lowered = text.lower()
    if limited and any(message in lowered for message in _THREAD_MESSAGES):
        return "host"
    if any(message in lowered for message in _DEVICE_MESSAGES) or _OF_NCCL.search(lowered):
        return "device"
    if any(message in lowered for message in _HOST_MESSAGES):
        return "host"
    return None


def memory_reason(text: str) -> str:
    """The first line, of NCCL the one that says memory, and the CPU allocator's in plain words."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [""]
    line = next((line for line in lines if _OF_NCCL.search(line.lower())), lines[0])
    asked = re.search(r"can't allocate memory: you tried to allocate (\d+) bytes", line)
    return f"an allocation of {format_bytes(int(asked.group(1)))} failed" if asked else line
