"""The words in which torch, its libraries and Python say that memory could not be had."""

from __future__ import annotations

_HOST_MESSAGES = (
    "defaultcpuallocator: can't allocate memory",
    "defaultcpuallocator: not enough memory",
    "std::bad_alloc",
    "cannot allocate memory",
    "could not allocate memory",
    "unable to allocate",
)
_DEVICE_MESSAGES = (
    "cuda out of memory",
    "cuda error: out of memory",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "hip out of memory",
)


def memory_that_ran_out(text: str) -> str | None:
    """``"device"``, ``"host"``, or None where the text tells of no lack of memory."""
    lowered = text.lower()
    if any(message in lowered for message in _DEVICE_MESSAGES):
        return "device"
    if any(message in lowered for message in _HOST_MESSAGES):
        return "host"
    return None
