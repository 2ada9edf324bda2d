"""The literal command with a worker that only pretends to train: everything else is the real thing.

Writes ``runs.log`` in the working folder: a line for each trial that is started, with VIOLATION where
the same candidate has already ended in an earlier trial.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

from sweeper import cli
from sweeper.core.files import read_json
from sweeper.core.folder import StudyFolder
from sweeper.core.machine import Machine
from sweeper.hydra_edge import schema
from sweeper.run import attempt

FAKE_WORKER = Path(__file__).with_name("fake_worker.py")


def work_of(spec):
    """What a trial does, whatever the best one so far was when it began."""
    return {name: value for name, value in spec.items() if name != "beaten_step_seconds"}


def main() -> None:
    schema.register()  # Hydra's scan comes before the plugin's modules are imported
    from sweeper.hydra_edge import planner, sweep
    from sweeper.run.launchers import LauncherRunner

    os.environ |= {"RANK": "0", "FAKE_BEHAVIOUR": os.environ.get("FAKE_BEHAVIOUR", "well")}
    direct = LauncherRunner(lambda spec, port: [sys.executable, "-S"], (str(FAKE_WORKER),))

    class Recorded:
        def run(self, spec, folder, watch=None):
            study = StudyFolder(folder.path.parent.parent)
            ended = [
                work_of(read_json(study.trial(t.number).spec))
                for t in study.read_trials()
                if study.trial(t.number).spec.exists()
            ]
            again = work_of(json.loads(json.dumps(spec.to_json()))) in ended
            with open("runs.log", "a") as log:
                log.write(f"{folder.path.name}{' VIOLATION' if again else ''}\n")
            return direct.run(spec, folder, watch)

    machine = Machine(cores=2, host_memory_bytes=2**34)
    attempt.runner = lambda name: Recorded()
    attempt.ensure_ops = sweep.ensure_ops = lambda *a, **k: None
    planner.model_profile = lambda settings: None  # it would take a child that loads torch
    sweep.are_built = lambda ops: False
    if second := os.environ.get("FAKE_SECOND"):  # in which it starts
        schema.time = SimpleNamespace(strftime=lambda _: second)
    device = os.environ.get("FAKE_DEVICE", "a fake device")
    sweep.thorough_look = lambda accelerator: (machine, {"device": device})
    cli.main()


if __name__ == "__main__":
    main()
