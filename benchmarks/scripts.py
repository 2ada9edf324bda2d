"""Winners of unmodified scripts against runs of the scripts that nobody watches but a clock.

Each kind of ``tests/real/theirs`` is tuned by the real command, finals included. Then it is started as the report
says, with its own options and with the winner's, both at once and in turn, a block of optimizer steps each, which
are timed from outside. Where its own options won they are timed against the fastest of the others, which must not be
faster after all.
``python -m benchmarks.scripts [KIND ...]``
"""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.setting import publish
from sweeper.core.contest_record import read_contest
from sweeper.core.files import read_json
from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import measurement_of
from sweeper.core.ratios import Ratio
from sweeper.core.script import words
from sweeper.core.start import script_facts, start_of
from sweeper.core.trial import Trial
from sweeper.core.whole_config import batch_sizes
from sweeper.places import extensions_dir
from sweeper.report.bundle import bundle_of, write_bundle
from sweeper.report.failures import Failures
from sweeper.run.launch import free_port
from sweeper.run.study_record import how_it_stands
from tests.real.test_unmodified_scripts import KINDS, THEIRS
from tests.support import ROOT, environment, run_sweeper

ROUNDS = 2
WITHIN = 0.05
# A block is long enough that what comes out of a pause is forgotten; its first steps do not count.
BLOCKS, BLOCK_SECONDS, LEAST_STEPS, MOST_STEPS, SETTLED_AFTER = 5, 0.4, 8, 60, 2
# Large enough that a step is more than its bookkeeping.
WIDTH = "512"
MEASURE = (
    "hydra/sweeper=optuna",
    "space=none",
    "hydra.sweeper.n_trials=4",
    "hydra.sweeper.finalists=1",
)
# Put before the script: when its tuned engine's optimizer steps begin and end, in turn with the other one's.
CLOCK = """
import inspect, json, os, time
from pathlib import Path
from sweeper.worker.script.when_imported import when_imported

ME, OTHER = os.environ["CLOCK_ME"], os.environ["CLOCK_OTHER"]
PLACE = Path(os.environ["CLOCK_PLACE"])
TURN = PLACE / "turn"

def wait_for(what):
    deadline = time.monotonic() + 150
    while not what():
        time.sleep(0.0005)
        if time.monotonic() > deadline:
            os._exit(9)

def give(name):
    new = PLACE / f"turn.{ME}"
    new.write_text(name)
    new.rename(TURN)

def watch(deepspeed):
    original, made, blocks, is_first = deepspeed.initialize, [], [], os.environ.get("RANK") == "0"

    def pause(num_steps):
        if blocks:
            blocks[-1].append(time.perf_counter())
        if (num_steps - 1) % int(os.environ["CLOCK_BLOCK"]):
            return
        deepspeed.comm.barrier()
        is_over = len(blocks) == int(os.environ["CLOCK_BLOCKS"])
        if is_first:
            if is_over:
                (PLACE / f"{ME}.json").write_text(json.dumps(blocks))
            (PLACE / f"ready.{ME}").touch()
            wait_for(lambda: (PLACE / f"ready.{OTHER}").exists())
            if num_steps > 1 or not TURN.exists():
                give(OTHER if num_steps > 1 else "own")
        deepspeed.comm.barrier()
        if is_over:
            os._exit(0)
        wait_for(lambda: TURN.exists() and TURN.read_text() == ME or (PLACE / f"{OTHER}.json").exists())
        deepspeed.comm.barrier()
        blocks.append([time.perf_counter()])

    def initialize(*given, **named):
        if os.environ.get("CLOCK_CONFIG") and len(made) + 1 == int(os.environ["CLOCK_ENGINE"]):
            bound = inspect.signature(original).bind(*given, **named)
            bound.arguments["config"] = os.environ["CLOCK_CONFIG"]
            given, named = bound.args, bound.kwargs
        answer = original(*given, **named)
        engine = answer[0]
        made.append(engine)
        if len(made) == int(os.environ["CLOCK_ENGINE"]):
            step = engine.step

            def stepped(*given, **named):
                before = engine.global_steps
                answer = step(*given, **named)
                if engine.global_steps > before:
                    pause(engine.global_steps)
                return answer

            engine.step = stepped
        return answer

    deepspeed.initialize = initialize

def change(accelerate):
    made = accelerate.utils.DeepSpeedPlugin.__init__

    def make(self, *given, **named):
        if isinstance(named.get("hf_ds_config"), (str, dict)):  # the script's own, no framework's object
            named["hf_ds_config"] = os.environ["CLOCK_CONFIG"]
        made(self, *given, **named)

    accelerate.utils.DeepSpeedPlugin.__init__ = make

when_imported("deepspeed", watch)
if os.environ.get("CLOCK_CONFIG"):
    when_imported("accelerate", change)
"""


def main(names: list[str]) -> None:
    """Prints a table, writes results/published/scripts.json."""
    rows: list[dict[str, Any]] = []
    seen: dict[str, Any] = {}
    print(
        f"{'script':>17}  {'against its own options':>44}  {'reported gain':>31}  {'neutral gain':>13}  confirmed"
    )
    with tempfile.TemporaryDirectory() as temporary:
        for name in names:
            row = _confirmed(name, Path(temporary) / name)
            seen = row.pop("environment", None) or seen
            rows.append(row)
            print(_line(row), flush=True)
            path = publish("scripts", {"width": WIDTH, "scripts": rows}, seen)
    print(f"raw results: {path}")


def _line(row: dict[str, Any]) -> str:
    if "reason" in row:
        return f"{row['script']:>17}  {row['reason']}"
    own = "its own options are the fastest"
    reported = row["reported_gain"]
    said = f"{reported[0]:.3f} ({reported[1]:.3f}-{reported[2]:.3f})" if reported else own
    return (
        f"{row['script']:>17}  {' '.join(row['against_own'])[:44]:>44}  {said:>31}"
        f"  {row['neutral_gain']:>13.3f}  {'yes' if row['confirmed'] else 'NO'}"
    )


def _confirmed(name: str, place: Path) -> dict[str, Any]:
    kind = KINDS[name]
    folder = place / "theirs"
    shutil.copytree(THEIRS / name, folder)
    done = run_sweeper(
        f"+script={kind.script}",
        f"script.args='{kind.arguments}'",
        *MEASURE,
        *kind.more,
        "hydra.sweep.dir=../study",
        cwd=folder,
        timeout=900,
        WIDTH=WIDTH,
    )
    study = StudyFolder(place / "study")
    if done.returncode != 0:
        return {"script": name, "reason": done.stderr.strip().splitlines()[-1]}
    trials = study.read_trials()
    other, reported = _reported(study, trials)
    study = _with_exports_of(other, study, place / "exported")
    own = measurement_of(trials[0].outcome)
    assert own is not None
    wanted = math.ceil(BLOCK_SECONDS / own.median_step_seconds)
    steps = min(max(wanted, LEAST_STEPS), MOST_STEPS)
    both = {"own": trials[0], "other": other}
    seconds = []
    for number in range(ROUNDS):
        taken = _in_turn(study, both, place / f"round-{number}", steps)
        # A script may have fewer steps in it.
        taken = taken or _in_turn(study, both, place / f"again-{number}", LEAST_STEPS)
        if not taken:
            return {"script": name, "reason": f"not both came to {BLOCKS} blocks of steps"}
        seconds.append(taken)
    ratios = [
        statistics.median(mine) / statistics.median(others)
        for both in seconds
        for mine, others in zip(both["own"], both["other"], strict=True)
    ]
    neutral = statistics.median(ratios)
    return {
        "script": name,
        "against_own": [f"{n}={v}" for n, v in other.point.items() if v != trials[0].point.get(n)],
        "winner": "own" if reported is None else "other",
        "reported_gain": reported and [reported.value, reported.low, reported.high],
        "neutral_gain": neutral,
        "neutral_gains": ratios,
        "confirmed": (
            reported.low * (1 - WITHIN) <= neutral <= reported.high * (1 + WITHIN)
            if reported
            else neutral <= 1 + WITHIN
        ),
        "step_seconds": seconds,
        "environment": (read_json(study.trial(0).result(0)) or {}).get("environment", {}),
    }


def _reported(study: StudyFolder, trials: list[Trial]) -> tuple[Trial, Ratio | None]:
    """The winner and its gain; where its own options won, the fastest of the others and None."""
    played = read_contest(study.finalists)
    if played and (winner := played[1].winner) and played[1].gain:
        return trials[winner], played[1].gain
    measured = {t.number: m for t in trials[1:] if (m := measurement_of(t.outcome))}
    fastest = max(measured, key=lambda number: measured[number].samples_per_second)
    return trials[fastest], None


def _in_turn(
    study: StudyFolder, trials: dict[str, Trial], place: Path, steps: int
) -> dict[str, list[list[float]]]:
    """Seconds of each step, block by block, of both, which run at once; nothing where one ended before."""
    (place / "clock").mkdir(parents=True)
    (place / "clock" / "sitecustomize.py").write_text(CLOCK)
    with ExitStack() as running:
        started = [
            running.enter_context(_started(study, trial, place, who, steps))
            for who, trial in trials.items()
        ]
        logs = [process.communicate(timeout=400) for process in started]
    if not all((place / f"{who}.json").exists() for who in trials):
        print("\n".join(text[-1000:] for log in logs for text in log), file=sys.stderr)
        return {}
    return {who: _seconds(place / f"{who}.json") for who in trials}


def _seconds(path: Path) -> list[list[float]]:
    blocks = json.loads(path.read_text())
    return [[b - a for a, b in itertools.pairwise(block)][SETTLED_AFTER:] for block in blocks]


def _with_exports_of(trial: Trial, study: StudyFolder, place: Path) -> StudyFolder:
    """A copy of the study whose ``best/`` is of that trial, whoever won."""
    shutil.copytree(study.path, place)
    folder = StudyFolder(place)
    failures = Failures(folder)
    how = replace(how_it_stands(folder), winner=trial)
    write_bundle(folder, bundle_of(folder, how, failures), failures)
    assert not failures.lines, failures.lines
    return folder


def _started(
    study: StudyFolder, trial: Trial, place: Path, who: str, steps: int
) -> subprocess.Popen[str]:
    """By its own command, or by the line that the report prints.

    What that asks to be changed in the script's code is given to its parser of arguments, or in the place of the
    configuration that it has.
    """
    start = start_of(trial.settings, script_facts(study), study.bundle)
    changed = {}
    line = start.command
    if who == "own":
        line = shlex.join(_as_typed(study, trial))
    elif study.bundle.trainer_arguments in start.needs and start.changes:
        line = f"{line} $(cat {shlex.quote(str(study.bundle.trainer_arguments))})"
    elif start.changes:
        line = shlex.join(_as_typed(study, trial))
        changed = {"CLOCK_CONFIG": str(study.trial(trial.number).ds_config)}
    line = re.sub(r"(launch\.sh'?) ", rf"\1 --master_port={free_port()} ", line, count=1)
    return subprocess.Popen(
        ["sh", "-ec", line],
        cwd=start.folder,
        env=environment(
            PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            PYTHONPATH=os.pathsep.join([str(place / "clock"), str(ROOT)]),
            PYTHONDONTWRITEBYTECODE="1",
            TORCH_EXTENSIONS_DIR=str(extensions_dir()),
            CLOCK_PLACE=str(place),
            CLOCK_ME=who,
            CLOCK_OTHER="own" if who == "other" else "other",
            CLOCK_BLOCKS=str(BLOCKS),
            CLOCK_BLOCK=str(steps),
            CLOCK_ENGINE=str(trial.settings.get("script.engine") or 1),
            WIDTH=WIDTH,
            **changed,
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _as_typed(study: StudyFolder, trial: Trial) -> list[str]:
    """The script with its own arguments, under the launcher."""
    settings = trial.settings
    sizes = batch_sizes(settings)
    values = {
        "micro_batch": sizes["train_micro_batch_size_per_gpu"],
        "gradient_accumulation": sizes["gradient_accumulation_steps"],
    }
    module = settings.get("script.module")
    what = ["--module", module] if module else [settings["script.path"]]
    return [str(study.bundle.launch), *what, *words(settings.get("script.args") or "", values)]


if __name__ == "__main__":
    main(sys.argv[1:] or list(KINDS))
