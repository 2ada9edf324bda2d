"""``sweeper doctor`` where things are missing for real: each is named, with what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweeper.places import extensions_dir
from sweeper.run.machine import accelerator
from tests.support import ROOT, run_sweeper

pytestmark = pytest.mark.timeout(240)

SITES = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]


def executable(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def line_of(text, name):
    """Status, what was found and what to do: those of the only finding of that name."""
    lines = text.splitlines()
    width = len("FAILURE  ")  # where names begin
    (first,) = [n for n, line in enumerate(lines) if line[width:].startswith(f"{name}  ")]
    status, found, advice = lines[first].split()[0], [lines[first][width + len(name) :]], ""
    for line in lines[first + 1 :]:
        if line.startswith(" " * width + "-> "):
            advice = line.strip().removeprefix("-> ")
        elif not line.startswith(" " * (width + 1)):
            break
        else:
            found.append(line)
    return status, " ".join(" ".join(found).split()), advice


@pytest.fixture(scope="module")
def nothing_there(tmp_path_factory):
    """No compiler, ninja, ssh or pdsh: the only program on PATH is the interpreter itself."""
    folder = tmp_path_factory.mktemp("machine")
    for name in ("bin", "cwd", "cache"):
        (folder / name).mkdir()
    python = folder / "bin" / "python"
    python.symlink_to(Path(sys.executable).resolve())
    environment = {
        "PATH": str(folder / "bin"),
        "HOME": str(folder),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *SITES]),
        "SWEEPER_CACHE_DIR": str(folder / "cache"),
        "DS_ACCELERATOR": "cpu",
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWEEPER_CACHE_DIR", str(folder / "cache"))
        lock = extensions_dir() / "cpu_adam" / "lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    (folder / "hosts").write_text("node1 slots=8\n")
    finished = subprocess.run(
        [
            *(str(python), "-m", "sweeper", "doctor"),
            *("--nvme", str(folder / "nvme"), "--hostfile", str(folder / "hosts")),
        ],
        cwd=folder / "cwd",
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    return finished, folder, lock


def test_a_machine_on_which_nothing_can_be_built_is_unfit(nothing_there):
    finished, _, _ = nothing_there
    assert 4 == finished.returncode, finished.stdout
    (line,) = finished.stderr.strip().splitlines()
    assert "the default study cannot run on this machine: compiler, ninja, op " in line
    assert "The default study cannot run here: 4 failure(s)" in finished.stdout


@pytest.mark.parametrize(
    ("name", "status", "said", "to_type"),
    [
        ("compiler", "FAILURE", "there is no c++ on PATH", "type apt-get install g++"),
        ("ninja", "FAILURE", "there is no ninja on PATH", "type pip install ninja"),
        ("nvcc", "ok", "; not needed on the CPU", ""),
        ("libaio", "warning", "", "type apt-get install"),
        ("op deepspeed_shm_comm", "FAILURE", "without compiler, ninja", "type pip install ninja"),
        ("op cpu_adam", "FAILURE", "without compiler, ninja", "type apt-get install g++"),
        ("op cpu_lion", "warning", "without compiler, ninja", "type apt-get install g++"),
        ("nvme", "warning", "nvme is not a folder", "type mkdir -p"),
        ("hostfile", "ok", "1 host(s), 8 slot(s)", ""),
        ("pdsh", "warning", "there is no pdsh on PATH", "type apt-get install pdsh"),
        ("ssh", "warning", "there is no ssh on PATH", "type apt-get install openssh-client"),
        ("dtypes", "ok", "fp32, bf16", ""),
    ],
)
def test_each_thing_that_is_missing_is_named_with_what_to_type(
    nothing_there, name, status, said, to_type
):
    shown, found, advice = line_of(nothing_there[0].stdout, name)
    assert status in shown
    assert said in found
    assert to_type in advice


def test_a_stale_lock_is_named_and_left_to_the_user(nothing_there):
    finished, _, lock = nothing_there
    status, found, advice = line_of(finished.stdout, "op locks")
    assert "warning" == status
    assert f"{lock} is stale" in found
    assert f"type rm {lock}" == advice
    assert lock.exists()


def test_nothing_is_built_and_nothing_is_left(nothing_there):
    _, folder, lock = nothing_there
    assert [] == list((folder / "cwd").iterdir())
    assert [lock] == [path for path in (folder / "cache").rglob("*") if path.is_file()]


def test_the_text_has_no_control_characters(nothing_there):
    assert nothing_there[0].stdout.replace("\n", "").isprintable()


@pytest.fixture(scope="module")
def enough_there(tmp_path_factory):
    """No op is built, all else is as it is here; a drive to measure, hosts that cannot be reached."""
    folder = tmp_path_factory.mktemp("machine")
    for name in ("cwd", "nvme", "lib", "bin"):
        (folder / name).mkdir()
    (folder / "hosts").write_text("nowhere.invalid slots=2\n192.0.2.1 slots=8\nnode\n")
    (folder / "lib" / "aio.c").write_text("int io_submit(void) { return 0; }\n")
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", folder / "lib" / "libaio.so", folder / "lib" / "aio.c"],
        check=True,
    )
    finished = run_sweeper(
        *("doctor", "--accelerator", "cpu"),
        *("--nvme", str(folder / "nvme"), "--hostfile", str(folder / "hosts")),
        cwd=folder / "cwd",
        timeout=200,
        SWEEPER_CACHE_DIR=str(folder / "cache"),
        LIBRARY_PATH=str(folder / "lib"),
    )
    return finished, folder


def test_a_machine_on_which_ops_can_be_built_is_fit(enough_there):
    finished, _ = enough_there
    assert 0 == finished.returncode, finished.stdout
    assert "" == finished.stderr
    assert "The default study can run here: 0 failure(s)" in finished.stdout
    status, found, _ = line_of(finished.stdout, "op cpu_adam")
    assert "ok" == status
    assert "not built yet; compiler and ninja will do it" in found


def test_libaio_that_links_is_found(enough_there):
    assert ("ok", "found, and links", "") == line_of(enough_there[0].stdout, "libaio")
    assert "ok" == line_of(enough_there[0].stdout, "op async_io")[0]


@pytest.mark.parametrize("host", ["nowhere.invalid", "192.0.2.1"])
def test_a_host_that_cannot_be_reached_is_named(enough_there, host):
    status, found, advice = line_of(enough_there[0].stdout, f"host {host}")
    assert "warning" == status
    assert found.startswith("not reachable: ")
    assert host in advice


def test_a_line_that_deepspeed_would_not_read_is_named(enough_there):
    status, found, _ = line_of(enough_there[0].stdout, "hostfile")
    assert "warning" == status
    assert "line 3, 'node', is no <host> slots=<number>" in found


def test_the_speed_of_a_drive_is_told_with_how_it_was_measured(enough_there):
    finished, folder = enough_there
    _, found, _ = line_of(finished.stdout, "nvme")
    assert str(folder / "nvme") in found
    for part in ("GB/s, reads ", "by one thread", "the page cache", "in blocks of 8 MiB", "free"):
        assert part in found
    assert [] == list((folder / "nvme").iterdir())
    assert [] == list((folder / "cwd").iterdir())
    assert not (folder / "cache").exists()


def test_a_torch_that_does_not_start_is_a_failure_and_not_a_traceback(tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(
        "raise ImportError('libcudart.so.99: cannot open shared object file')\n"
    )
    finished = run_sweeper(
        *("doctor", "--accelerator", "cpu"),
        cwd=tmp_path,
        PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")]),
    )
    assert 4 == finished.returncode, finished.stdout
    assert 1 == len(finished.stderr.strip().splitlines())
    status, found, advice = line_of(finished.stdout, "torch and DeepSpeed")
    assert "FAILURE" == status
    assert "libcudart.so.99: cannot open shared object file" in found
    assert f"type DS_ACCELERATOR=cpu {sys.executable} -c 'import torch, deepspeed'" in advice
    assert "ok" == line_of(finished.stdout, "compiler")[0]  # the rest is told all the same


@pytest.mark.skipif(accelerator() == "cuda", reason="there is a CUDA device")
def test_a_cuda_device_that_is_not_there_is_named(tmp_path):
    finished = run_sweeper("doctor", "--accelerator", "cuda", cwd=tmp_path)
    assert 4 == finished.returncode
    status, found, advice = line_of(finished.stdout, "devices")
    assert "FAILURE" == status
    assert "nvidia-smi lists no CUDA device" in found
    assert "hardware=cpu with your study" in advice


@pytest.mark.parametrize(
    ("script", "words"),
    [
        pytest.param("exec sleep 600", "does not answer within", marks=pytest.mark.slow),
        ("echo 'Driver/library version mismatch'; exit 18", "(Driver/library version mismatch)"),
    ],
    ids=["hangs", "fails"],
)
def test_a_driver_that_does_not_tell_is_named(tmp_path, script, words):
    executable(tmp_path / "nvidia-smi", script)
    finished = run_sweeper(
        "doctor",
        cwd=tmp_path,
        timeout=120,
        PATH=os.pathsep.join([str(tmp_path), os.environ["PATH"]]),
        DS_ACCELERATOR="",
        CUDA_VISIBLE_DEVICES="0",
    )
    assert 4 == finished.returncode, finished.stdout
    status, found, advice = line_of(finished.stdout, "driver")
    assert "FAILURE" == status
    assert words in found
    assert "type hardware=cpu to train on the CPU" in advice


@pytest.mark.parametrize("wrong", [("here",), ("--accelerator", "tpu"), ("--nvme",)])
def test_a_mistake_is_one_line(tmp_path, wrong):
    finished = run_sweeper("doctor", *wrong, cwd=tmp_path)
    assert 2 == finished.returncode
    (line,) = finished.stderr.strip().splitlines()
    assert line.startswith("sweeper: doctor ")
    assert "type python -m sweeper doctor" in line
    assert "" == finished.stdout
