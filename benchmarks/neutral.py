"""Measures DeepSpeed configurations by one plain script, step by step in turn.

All are trained at the same time and one takes a step at a time: whole trainings, one after another,
would be measured at different speeds of the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.baton import Runner
from sweeper.core.spec import TrialSpec
from sweeper.run.launch import free_port
from sweeper.run.launchers import deepspeed_command
from sweeper.run.processes import ProcessGroup

SCRIPT = str(Path(__file__).with_name("autotuned_script.py"))
STEPS = 120
SETTLED_AFTER = 20
REST_SECONDS = 0.02
ROUND_TIMEOUT_SECONDS = 600

Config = dict[str, Any]


def in_turn(
    configs: Mapping[str, Config],
    spec: TrialSpec,
    folder: Path,
    environment: Mapping[str, str],
    *,
    rounds: int,
) -> dict[str, list[list[float]]]:
    """Seconds of each step of each configuration, a list for each round of fresh processes."""
    runs: dict[str, list[list[float]]] = {name: [] for name in configs}
    for number in range(rounds):
        inside = folder / f"round-{number}"
        inside.mkdir()
        for name, seconds in _round(configs, spec, inside, environment).items():
            runs[name].append([round(s, 6) for s in seconds[SETTLED_AFTER:]])
    return runs


def _round(
    configs: Mapping[str, Config], spec: TrialSpec, folder: Path, environment: Mapping[str, str]
) -> dict[str, list[float]]:
    outs = [folder / f"{number}.seconds.json" for number in range(len(configs))]
    with contextlib.ExitStack() as stack:
        trainings: list[tuple[Runner, ProcessGroup]] = []

        def none_failed() -> None:
            for number, (_, group) in enumerate(trainings):
                if group.exit_code not in (None, 0):
                    raise SystemExit((folder / f"{number}.err").read_text(errors="replace")[-3000:])

        what = "a round of the neutral script"
        stack.enter_context(time_limit(ROUND_TIMEOUT_SECONDS, what, each_second=none_failed))
        for number, (config, out) in enumerate(zip(configs.values(), outs, strict=True)):
            baton = Runner(folder, f"{number}-baton")
            stack.callback(baton.close)
            command = [
                *(
                    *deepspeed_command(spec, free_port()),
                    *script(config, spec, folder, f"{number}"),
                ),
                *(f"--steps={STEPS}", f"--out={out}", f"--baton={baton.path}"),
            ]
            trainings.append((baton, start(command, environment, folder, f"{number}")))
            stack.callback(trainings[-1][1].end)
        for baton, _ in trainings:
            baton.wait()
        for step in range(STEPS):
            for baton, group in trainings[:: 1 if step % 2 == 0 else -1]:  # ABBA
                time.sleep(REST_SECONDS)
                baton.hand_over()
                if step < STEPS - 1:
                    baton.wait()
                else:
                    wait_for(group)
    return {name: json.loads(out.read_text()) for name, out in zip(configs, outs, strict=True)}


def script(config: Config, spec: TrialSpec, folder: Path, name: str) -> list[str]:
    """The script with its arguments, as both DeepSpeed's launcher and its autotuner take it."""
    path = folder / f"{name}.config.json"
    path.write_text(json.dumps(config))
    return [
        *(SCRIPT, "--deepspeed", "--deepspeed_config", str(path)),
        f"--shape={json.dumps(spec.model_arguments, separators=(',', ':'))}",
        f"--length={spec.sequence_length}",
    ]


def start(
    command: list[str], environment: Mapping[str, str], folder: Path, name: str
) -> ProcessGroup:
    """A command in this environment and ``environment``, its output in ``folder``."""
    return ProcessGroup(
        command,
        environment={**os.environ, **environment},
        stdout=folder / f"{name}.out",
        stderr=folder / f"{name}.err",
    )


def wait_for(group: ProcessGroup) -> int:
    """Its exit code."""
    while (exit_code := group.exit_code) is None:
        time.sleep(0.02)
    return exit_code


@contextlib.contextmanager
def time_limit(
    seconds: int, what: str, *, each_second: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Ends the program with a line where ``what`` takes longer; also while it waits in a read."""
    deadline = time.monotonic() + seconds

    def look(*_: object) -> None:
        each_second()
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} did not end within {seconds} s")

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 1.0, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
