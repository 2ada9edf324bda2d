import subprocess
import sys

import pytest

from sweeper.errors import EnvironmentUnfit
from sweeper.run import exclusive as module
from sweeper.run.exclusive import exclusive, wait_until_drained, what_disturbs
from tests.support import ROOT

HOLD = (
    "import sys, time; sys.path.insert(0, sys.argv[1]);"
    "from sweeper.run.exclusive import exclusive\n"
    "with exclusive(['cpu'], print):\n    print('held', flush=True)\n    time.sleep(1.0)"
)


def test_two_trials_never_share_a_device(tmp_path, monkeypatch):
    monkeypatch.setenv("SWEEPER_CACHE_DIR", str(tmp_path))
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(ROOT)], stdout=subprocess.PIPE, text=True
    )
    assert "held\n" == other.stdout.readline()
    said = []
    with exclusive(["cpu"], said.append):
        assert other.poll() is not None or other.wait(timeout=5) == 0
    assert ["another trial is running on cpu; waiting for it to end"] == said


def test_device_memory_that_comes_back_is_waited_for(monkeypatch):
    readings = iter([5 * 2**30, 3 * 2**30, 2**30])
    monkeypatch.setattr(module, "device_memory_used", lambda _: {"0": next(readings)})
    slept, said = [], []
    wait_until_drained({"0": 2**30}, said.append, sleep=slept.append)
    assert 2 == len(slept)
    assert "4.00 GiB on device 0" in said[0]


def test_device_memory_that_stays_ends_the_study_with_the_reason(monkeypatch):
    monkeypatch.setattr(module, "device_memory_used", lambda _: {"0": 5 * 2**30})
    with pytest.raises(EnvironmentUnfit, match=r"4\.00 GiB on device 0.*resume="):
        wait_until_drained({"0": 2**30}, lambda _: None, sleep=lambda _: None)


def test_a_loaded_machine_and_a_busy_device_are_noticed(monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (7.0, 0.0, 0.0))
    monkeypatch.setattr(module, "device_memory_used", lambda _: {"0": 9 * 2**30})
    load, device = what_disturbs(["0"])
    assert "load 7.0" in load
    assert "device 0 is in use: 9.00 GiB" in device


def test_a_quiet_machine_is_not_complained_about(monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    assert [] == what_disturbs(["cpu"])
