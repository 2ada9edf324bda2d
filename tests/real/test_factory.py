"""The examples of a preset and of models that are not ours, as real studies."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import measurement_of, reason_of
from tests.support import ROOT, environment

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]
QUICK = (
    "space=none",
    "batch.micro_size=choice(1,4)",
    "checkpointing=choice(none,full)",
    "hydra.sweeper.n_trials=2",
    "hydra.sweeper.finalists=0",
    "measure.min_warmup_steps=1",
    "measure.max_warmup_steps=1",
    "measure.min_steps=3",
    "measure.max_steps=3",
    "measure.breakdown_steps=0",
    "hydra.sweep.dir=study",
)


@pytest.mark.parametrize(
    "example", ["factory", *(pytest.param(n, marks=pytest.mark.slow) for n in ("hf", "preset"))]
)
def test_an_example_can_be_tuned_as_it_is(tmp_path, example):
    shutil.copytree(ROOT / "examples" / example, tmp_path / example)
    finished = subprocess.run(
        ["sh", str(tmp_path / example / "run.sh"), *QUICK],
        env=environment(
            PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        ),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert 0 == finished.returncode, finished.stderr
    left_out = "checkpointing is not searched: my_package.build has neither" in finished.stderr
    assert (example == "factory") == left_out
    trials = StudyFolder(tmp_path / example / "study").read_trials()
    losses = []
    for trial in trials:
        measurement = measurement_of(trial.outcome)
        assert measurement is not None, reason_of(trial.outcome)
        losses.append(measurement.losses[:3])
    assert pytest.approx(losses[0], rel=1e-3) == losses[1]
