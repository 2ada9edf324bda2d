"""Studies with the fake worker in processes of their own, and what must hold of them afterwards."""

import subprocess
import sys
from pathlib import Path

from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import Infeasible
from sweeper.search.optuna_study import load_study
from tests.support import apart, environment

STUDY = [sys.executable, "-m", "tests.faults.study_with_fake_worker"]
NEW = [
    "+model=gpt2-nano",
    "hydra/sweeper=optuna",
    "workload.global_batch_size=16",
    "hydra.sweeper.finalists=0",
    "hydra.sweep.dir='a study'",
]


def start(cwd, *arguments, **more):
    return subprocess.Popen(
        [*STUDY, *arguments],
        cwd=cwd,
        env=environment(**apart(cwd), **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, *, code=0, timeout=400):
    out, err = process.communicate(timeout=timeout)
    assert code == process.returncode, err[-3000:]
    return out, err


def check_whole(folder: StudyFolder, cwd: Path, *, num_run: int):
    """Every trial has one outcome, no work was done twice, and Optuna's record agrees."""
    trials = folder.read_trials()
    assert list(range(len(trials))) == [trial.number for trial in trials]
    assert len(trials) == len({trial.key for trial in trials})
    assert num_run == sum(not isinstance(t.outcome, Infeasible) for t in trials)
    assert "VIOLATION" not in (cwd / "runs.log").read_text()
    assert [] == folder.unfinished()
    recorded = load_study(None, folder.journal, folder.path.name)
    told = [t.user_attrs["trial"] for t in recorded.trials if "trial" in t.user_attrs]
    assert list(range(len(trials))) == sorted(told)
    assert not [t for t in recorded.trials if not t.state.is_finished()]
