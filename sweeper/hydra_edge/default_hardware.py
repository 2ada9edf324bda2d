"""The ``hardware=`` of a command line that names none: what else it says of a device, or what is there."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.run.machine import accelerator

_GROUP = "hardware"
_ACCELERATOR = "hardware.accelerator"
_DEVICE_MEMORY = "hardware.device_memory"
_NAMED = ("cpu", "cuda")


def default_hardware(arguments: Sequence[str]) -> str:
    """Of several options the one that brings a workload and a precision that its device is fit for.

    Where a group is typed the driver is not asked: one that hangs is in nobody's way then.
    """
    typed = _typed(arguments)
    if _GROUP in typed:
        return _NAMED[0]  # the typed one takes its place
    if (named := typed.get(_ACCELERATOR)) in _NAMED:
        return named
    if typed.get(_DEVICE_MEMORY, "null") != "null":
        return "cuda"  # a CPU has no memory of its own
    return accelerator()


def note_on_hardware(arguments: Sequence[str]) -> str | None:
    """Of the accelerator alone that was typed: what it brought."""
    typed = _typed(arguments)
    named = typed.get(_ACCELERATOR)
    if named not in _NAMED or _GROUP in typed:
        return None
    return f"{_ACCELERATOR}={named} is taken for {_GROUP}={named}, with its workload and precision"


def _typed(arguments: Sequence[str]) -> dict[str, str]:
    pairs = (argument.lstrip("+").partition("=") for argument in arguments)
    return {name: value for name, _, value in pairs}
