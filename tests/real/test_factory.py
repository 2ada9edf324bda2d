"""The examples for models that are not ours, as real studies."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import Measured, reason_of
from tests.support import ROOT, environment

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]
QUICK = (
    "space=none",
    "batch.micro_size=choice(1,4)",
    "hydra.sweeper.n_trials=2",
    "hydra.sweeper.finalists=0",
    "measure=quick",
    "measure.max_seconds=1",
    "hydra.sweep.dir=study",
)


@pytest.mark.parametrize("example", ["factory", "hf"])
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
    trials = StudyFolder(tmp_path / example / "study").read_trials()
    losses = []
    for trial in trials:
        assert isinstance(trial.outcome, Measured), reason_of(trial.outcome)
        losses.append(trial.outcome.measurement.losses[:3])
    assert pytest.approx(losses[0], rel=1e-3) == losses[1]
