"""All that ``doctor`` looks at, at once, and none of it for longer than it may take."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper.core.finding import Finding, failure, warning
from sweeper.core.machine import Machine
from sweeper.errors import EnvironmentUnfit
from sweeper.places import cache_dir, extensions_dir
from sweeper.run.background import Background
from sweeper.run.doctor.hosts import host_findings, most_seconds
from sweeper.run.doctor.machine import (
    device_findings,
    device_memory_findings,
    limit_findings,
    load_findings,
    memory_findings,
    no_device,
)
from sweeper.run.doctor.ops import (
    OpsKnown,
    Toolchain,
    libaio_finding,
    lock_findings,
    op_findings,
    tool_findings,
)
from sweeper.run.doctor.storage import nvme_findings, room_findings
from sweeper.run.doctor.tools import compiler, ninja, nvcc_release
from sweeper.run.doctor.versions import version_findings
from sweeper.run.machine import accelerator, ask_worker, device_count, has_libaio, quick_look
from sweeper.run.ops import LIBRARIES, is_built

LOOK_TIMEOUT_SECONDS = 20.0
# torch and DeepSpeed from a cold disk; everything else takes moments.
WORKER_TIMEOUT_SECONDS = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """``accelerator`` is what trials would run on, None: what is found out; the rest is looked at where given."""

    accelerator: str | None = None
    nvme: Path | None = None
    hostfile: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A look that may fail or hang; ``by_hand`` is the command that shows a person the same.

    ``vital``: without an answer no study runs.
    """

    name: str
    look: Callable[[], Iterable[Finding]]
    by_hand: str
    vital: bool = False
    timeout_seconds: float = LOOK_TIMEOUT_SECONDS

    def start(self) -> Background[list[Finding]]:
        """Looks, beside whatever else goes on."""
        return Background(lambda: list(self.look()))


def examine(asked: Asked, ops_needed: Callable[[str], Sequence[str]]) -> list[Finding]:
    """``ops_needed`` gives the builders of the default study on an accelerator."""
    try:
        on = asked.accelerator or accelerator()
    except EnvironmentUnfit as error:
        found, _, advice = str(error).partition("; ")
        rest = _answers(_checks(asked, "cpu", ops_needed))
        return [failure("driver", found, advice), *rest]
    return _answers(_checks(asked, on, ops_needed))


def _answers(checks: Sequence[Check]) -> list[Finding]:
    """The speed of a drive is measured last and by itself: the others read files and keep the cores busy."""
    at_once = [check for check in checks if check.name != "nvme"]
    started = [check.start() for check in at_once]
    found = [answer(*pair) for pair in zip(at_once, started, strict=True)]
    found += [answer(check, check.start()) for check in checks if check.name == "nvme"]
    return [finding for findings in found for finding in findings]


def answer(check: Check, background: Background[list[Finding]]) -> list[Finding]:
    """What a look found; that it failed, or hangs, is a finding too."""
    try:
        return background.result(check.timeout_seconds)
    except Exception as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        say = failure if check.vital else warning
        return [say(check.name, f"cannot be looked at: {why}", f"type {check.by_hand}")]


def _checks(asked: Asked, on: str, ops_needed: Callable[[str], Sequence[str]]) -> list[Check]:
    """In the order in which they are told."""
    locks_memory = asked.nvme is not None or asked.hostfile is not None
    checks = [
        Check(name="packages", look=version_findings, by_hand="pip list"),
        Check(
            name="torch and DeepSpeed",
            look=lambda: worker_findings(on, ops_needed),
            by_hand=_start_by_hand(on),
            vital=True,
            timeout_seconds=WORKER_TIMEOUT_SECONDS + LOOK_TIMEOUT_SECONDS,
        ),
        Check(name="op locks", look=lock_findings, by_hand=f"ls {cache_dir()}/*/*/*/lock"),
        Check(name="memory", look=memory_findings, by_hand="free -h"),
        Check(
            name="limits",
            look=lambda: limit_findings(locks_memory=locks_memory),
            by_hand="ulimit -a",
        ),
        Check(name="load", look=lambda: load_findings(on), by_hand="uptime"),
        Check(
            name="studies",
            look=lambda: room_findings("studies", Path("results").absolute()),
            by_hand="df -h .",
            vital=True,
        ),
        Check(
            name="cache",
            look=lambda: room_findings("cache", cache_dir()),
            by_hand=f"df -h {cache_dir()}",
            vital=True,
        ),
    ]
    if (nvme := asked.nvme) is not None:
        checks.append(Check(name="nvme", look=lambda: nvme_findings(nvme), by_hand=f"df -h {nvme}"))
    if (hostfile := asked.hostfile) is not None:
        checks.append(
            Check(
                name="hostfile",
                look=lambda: host_findings(hostfile),
                by_hand=f"cat {hostfile}",
                timeout_seconds=most_seconds(hostfile),
            )
        )
    return checks


def worker_findings(on: str, ops_needed: Callable[[str], Sequence[str]]) -> Iterator[Finding]:
    """Devices, and the ops that DeepSpeed has or could have for them."""
    told: Mapping[str, Any] = {}
    compiling, handing_over, nvcc = (
        Background(compiler),
        Background(ninja),
        Background(nvcc_release),
    )
    if on == "cuda" and device_count() == 0:
        yield no_device()
    else:
        try:
            told = ask_worker(on, list(LIBRARIES), timeout_seconds=WORKER_TIMEOUT_SECONDS)
        except EnvironmentUnfit as error:
            found = str(error).rpartition("; ")[0]
            install = "make setup, or pip install the package again"
            yield failure(
                "torch and DeepSpeed", found, f"type {_start_by_hand(on)}; then {install}"
            )
    libaio = None
    if told:
        quick = quick_look()
        machine = Machine(
            cores=quick.cores, host_memory_bytes=quick.host_memory_bytes, **told["capabilities"]
        )
        libaio = machine.libaio
        yield from device_findings(machine, on)
        yield from device_memory_findings(machine)
    tools = Toolchain(
        compiler=compiling.result(LOOK_TIMEOUT_SECONDS),
        ninja=handing_over.result(LOOK_TIMEOUT_SECONDS),
        nvcc_release=nvcc.result(LOOK_TIMEOUT_SECONDS),
    )
    try:
        needed = ops_needed(on)
    except Exception as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        needed = ()
        yield failure(
            "default study",
            f"cannot be composed: {why}",
            "type python -m sweeper +model=gpt2 hydra/sweeper=optuna --cfg job",
        )
    folder = extensions_dir()
    known = OpsKnown(
        accelerator=on,
        needed=needed,
        built=frozenset(name for name in LIBRARIES if is_built(folder, name)),
        builders=told.get("ops", {}),
        cuda=told.get("cuda_toolkit", {}),
        libaio=libaio,
    )
    ingredients = [*tool_findings(tools, known), libaio_finding(tools, known, seen=has_libaio())]
    yield from ingredients
    yield from op_findings(known, ingredients)


def _start_by_hand(on: str) -> str:
    python = shlex.quote(sys.executable)
    return f"DS_ACCELERATOR={on} {python} -c 'import torch, deepspeed'"
