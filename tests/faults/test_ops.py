import subprocess
import sys
import time

import pytest

from sweeper.errors import EnvironmentUnfit
from sweeper.run import ops
from sweeper.run.ops import clear_stale_locks, ensure_ops

HOLDER = "import os, sys, time; os.open(sys.argv[1], os.O_CREAT | os.O_EXCL); print(flush=True); time.sleep(600)"


@pytest.fixture
def lock(tmp_path):
    path = tmp_path / "cpu_adam" / "lock"
    path.parent.mkdir()
    return path


def test_the_lock_of_a_dead_builder_is_removed(tmp_path, lock):
    builder = subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdout=subprocess.PIPE)
    builder.stdout.readline()
    builder.kill()
    builder.wait()
    assert lock.exists()
    assert [lock] == clear_stale_locks(tmp_path)
    assert not lock.exists()


def test_the_lock_of_a_living_builder_stays(tmp_path, lock):
    builder = subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdout=subprocess.PIPE)
    try:
        builder.stdout.readline()
        assert [] == clear_stale_locks(tmp_path)
        assert lock.exists()
    finally:
        builder.kill()
        builder.wait()


@pytest.fixture
def extensions(tmp_path, monkeypatch):
    """A cache of our own, whose ops are built by a child that a test writes."""
    monkeypatch.setattr(ops, "extensions_dir", lambda: tmp_path)

    def builds_with(code):
        real = ops.ProcessGroup
        monkeypatch.setattr(
            ops,
            "ProcessGroup",
            lambda command, **rest: real([sys.executable, "-c", code, str(tmp_path)], **rest),
        )
        return tmp_path

    return builds_with


WRITES_LIBRARY = (
    "import pathlib, sys; f = pathlib.Path(sys.argv[1], 'cpu_adam'); f.mkdir(exist_ok=True);"
    "assert not (f / 'lock').exists(); (f / 'cpu_adam.so').touch()"
)


def test_a_missing_op_is_built_once_with_progress_said(extensions):
    extensions(WRITES_LIBRARY)
    said = []
    ensure_ops(["CPUAdamBuilder"], accelerator="cpu", say=said.append)
    assert "building DeepSpeed's op cpu_adam (1/1)" in said[0]
    assert said[-1].startswith("built cpu_adam in")
    again = []
    ensure_ops(["CPUAdamBuilder"], accelerator="cpu", say=again.append)
    assert [] == again


def test_a_build_is_not_held_up_by_the_lock_of_a_killed_one(extensions):
    folder = extensions(WRITES_LIBRARY)
    (folder / "cpu_adam").mkdir()
    (folder / "cpu_adam" / "lock").touch()
    ensure_ops(["CPUAdamBuilder"], accelerator="cpu", say=lambda _: None)
    assert (folder / "cpu_adam" / "cpu_adam.so").exists()


def test_a_library_beside_a_stale_lock_is_built_anew_not_trusted(extensions):
    folder = extensions(WRITES_LIBRARY)
    (folder / "cpu_adam").mkdir()
    (folder / "cpu_adam" / "lock").touch()
    (folder / "cpu_adam" / "cpu_adam.so").touch()
    said = []
    ensure_ops(["CPUAdamBuilder"], accelerator="cpu", say=said.append)
    assert any("built" in line for line in said)


def test_a_build_that_fails_is_one_line_with_the_compilers_last_word(extensions):
    extensions("import sys; sys.exit('error: no compiler')")
    with pytest.raises(EnvironmentUnfit, match="error: no compiler") as error:
        ensure_ops(["CPUAdamBuilder"], accelerator="cpu", say=lambda _: None)
    assert "\n" not in str(error.value)
    assert "apt-get install g++" in str(error.value)


def test_a_second_sweeper_waits_for_the_first_ones_build(extensions, tmp_path):
    extensions(WRITES_LIBRARY)
    code = (
        "import fcntl, sys, time; f = open(sys.argv[1] + '/.building', 'w');"
        "fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); time.sleep(1.5)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    other.stdout.readline()
    said = []
    start = time.monotonic()
    ensure_ops(["CPUAdamBuilder"], accelerator="cpu", say=said.append)
    assert "another sweeper is building" in said[0]
    assert time.monotonic() - start > 1.0
    other.wait()
