"""The literal command is killed again and again."""

import random
import signal
import time

import pytest

from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import Infeasible
from tests.faults.studies import NEW, check_whole, finish, start

pytestmark = pytest.mark.timeout(420)


@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_a_study_killed_at_random_moments_loses_nothing_and_repeats_nothing(tmp_path, kills):
    moments = random.Random(20)
    folder = StudyFolder(tmp_path / "a study")
    # Not the guide: it would see that the fake worker is always as fast, and end the study.
    endless = ["hydra/sweeper/sampler=tpe", "hydra.sweeper.n_trials=1000"]
    to_start = 0.0  # seconds: a slow machine gets longer ones
    for _ in range(kills):
        begun, now = folder.study.exists(), time.monotonic()
        process = start(tmp_path, *(["resume=a study"] if begun else [*NEW, *endless]))
        # Anywhere: in the imports or the start, or (mostly) while it plans, launches, runs, writes, tells.
        if moments.random() < 0.8:
            assert process.stderr.readline().startswith("study of"), process.communicate()
            to_start = time.monotonic() - now
        time.sleep(moments.uniform(0.0, max(3.0, to_start)))
        assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGKILL)
        process.communicate()
    num_run = sum(not isinstance(t.outcome, Infeasible) for t in folder.read_trials())
    assert num_run >= kills // 5  # there was something to lose
    finish(start(tmp_path, "resume=a study", f"hydra.sweeper.n_trials={num_run + 3}"))
    check_whole(folder, tmp_path, num_run=num_run + 3)
