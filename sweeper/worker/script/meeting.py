"""Lets the ranks of a trial meet where the trial says, whatever address a script has written down."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any, NoReturn
from urllib.parse import urlsplit

import torch

# What a rank is started with -> the argument of init_process_group that says it, too.
_TOLD = {"WORLD_SIZE": "world_size", "RANK": "rank"}
_PLACE = ("MASTER_ADDR", "MASTER_PORT")


def meet_where_told(name: str, end: Callable[[str], NoReturn]) -> None:
    """To be called before the script runs. ``end`` is told why ranks that think otherwise cannot be measured.

    A fixed port might be another study's, or the last trial's; a file would hold what the last trial wrote.
    """
    started = {variable: os.environ.get(variable) for variable in (*_TOLD, *_PLACE)}
    process = os.getpid()
    distributed = torch.distributed.distributed_c10d
    original = distributed.init_process_group
    signature = inspect.signature(original)

    @functools.wraps(original)
    def init_process_group(*positional: Any, **named: Any) -> Any:
        if os.getpid() != process:  # a child's affair
            return original(*positional, **named)
        bound = signature.bind(*positional, **named)
        if why := contradiction(started, os.environ, bound.arguments):
            end(f"{name} {why}")
        if bound.arguments.get("store") is None:
            for variable in _PLACE:
                if (value := started[variable]) is not None:
                    os.environ[variable] = value
            method = met_at(started, bound.arguments.get("init_method"))
            if method is not None:
                bound.arguments["init_method"] = method
        return original(*bound.args, **bound.kwargs)

    torch.distributed.init_process_group = distributed.init_process_group = init_process_group


def contradiction(
    started: Mapping[str, str | None], now: Mapping[str, str], arguments: Mapping[str, Any]
) -> str:
    """Why a rank is not the one that was started; "" where it is."""
    for variable, argument in _TOLD.items():
        before, value = started[variable], now.get(variable)
        where = f"sets {variable} to"
        given = arguments.get(argument)
        if given is not None and int(given) >= 0:
            value, where = str(given), f"calls init_process_group with {argument} ="
        if before is None or value is None or value == before:
            continue
        ranks = started["WORLD_SIZE"]
        alone = ", or type hardware.ranks=1" if variable == "WORLD_SIZE" and value == "1" else ""
        if variable == "WORLD_SIZE" and value not in ("", "1"):
            alone = f", or type hardware.ranks={value}"
        return (
            f"{where} {value}, where this process was started with {variable}={before} (one of "
            f"hardware.ranks={ranks}): its ranks would not train together; leave {variable} as the "
            f"launcher sets it (os.environ.setdefault){alone}"
        )
    return ""


def met_at(started: Mapping[str, str | None], method: str | None) -> str | None:
    """The address in the place of a URL of the script's own; None where its way is not one."""
    address, port = (started[variable] for variable in _PLACE)
    parts = urlsplit(method or "")
    if parts.scheme not in ("tcp", "file") or address is None or port is None:
        return None
    return f"tcp://{address}:{port}" + (f"?{parts.query}" if parts.query else "")
