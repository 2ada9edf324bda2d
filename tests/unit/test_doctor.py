"""What ``doctor`` makes of what it sees, without starting torch."""

import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sweeper.core.finding import failure, ok, warning
from sweeper.core.machine import Machine
from sweeper.errors import EnvironmentUnfit, UsageError
from sweeper.hydra_edge.default_study import ops_of_default_study
from sweeper.hydra_edge.doctor import asked_for, check_fit, doctor_text
from sweeper.run.background import Background
from sweeper.run.doctor import hosts as hosts_looked_at
from sweeper.run.doctor import storage as storage_looked_at
from sweeper.run.doctor import tools as tools_looked_at
from sweeper.run.doctor.examine import Check, answer
from sweeper.run.doctor.hosts import host_findings, hosts_in
from sweeper.run.doctor.machine import (
    available_bytes,
    device_findings,
    device_memory,
    host_memory,
    open_files_limit,
    pinned_limit,
    shared_memory,
)
from sweeper.run.doctor.ops import (
    OpsKnown,
    Toolchain,
    libaio_finding,
    lock_findings,
    op_findings,
    tool_findings,
)
from sweeper.run.doctor.storage import (
    Speed,
    measure_speed,
    nvme_findings,
    nvme_speed,
    room_findings,
)
from sweeper.run.doctor.tools import Tool, compiler, nvcc_release
from sweeper.run.doctor.versions import KNOWN, version_finding
from tests.support import ROOT

GIB = 2**30
GCC = Tool(found="c++ 12.2, /usr/bin/c++")
NINJA = Tool(found="1.13, /usr/bin/ninja")
NO_GCC = Tool(found="there is no c++ on PATH", advice="type apt-get install g++")
NEEDED = ("ShareMemCommBuilder", "CPUAdamBuilder")
ON_CPU = {
    name: {"installed": False, "cuda_toolkit": False}
    for name in (*NEEDED, "FusedAdamBuilder", "AsyncIOBuilder")
}


def tools(gcc=GCC, nvcc=None):
    return Toolchain(compiler=gcc, ninja=NINJA, nvcc_release=nvcc)


def known(**changes):
    there = {"accelerator": "cpu", "needed": NEEDED, "built": frozenset(), "builders": ON_CPU}
    return OpsKnown(**{**there, "cuda": {"torch_cuda": None}, "libaio": False, **changes})


def by_name(findings):
    return {finding.name: finding for finding in findings}


def ops(gcc=GCC, nvcc=None, *, seen=False, **changes):
    what, kit = known(**changes), tools(gcc, nvcc)
    ingredients = [*tool_findings(kit, what), libaio_finding(kit, what, seen=seen)]
    return by_name([*ingredients, *op_findings(what, ingredients)])


def test_without_a_compiler_an_op_of_the_default_study_that_is_not_built_is_a_failure():
    found = ops(NO_GCC)
    assert "failure" == found["compiler"].status
    assert "needs deepspeed_shm_comm, cpu_adam built" in found["compiler"].found
    assert "failure" == found["op cpu_adam"].status
    assert "type apt-get install g++" == found["op cpu_adam"].advice
    assert "warning" == found["op fused_adam"].status


def test_without_a_compiler_a_study_whose_ops_are_built_can_run():
    found = ops(NO_GCC, built=frozenset(NEEDED))
    assert "warning" == found["compiler"].status
    assert "built" == found["op cpu_adam"].found
    assert "failure" not in {finding.status for finding in found.values()}


def test_an_op_that_can_be_built_says_by_what():
    found = ops(libaio=True)["op async_io"]
    assert "ok" == found.status
    assert "compiler, ninja and libaio" in found.found


def test_an_op_that_the_accelerator_does_not_have_is_not_told():
    assert "op fused_lion" not in ops()


def test_without_torch_ops_are_judged_by_the_compiler_alone():
    assert "ok" == ops(builders={}, cuda={})["op fused_lion"].status


@pytest.mark.parametrize(
    ("libaio", "seen", "gcc", "said"),
    [
        (True, True, GCC, "found, and links"),
        (False, False, GCC, "not found"),
        (False, True, GCC, "nothing links with it"),
        (None, True, NO_GCC, "without a compiler"),
    ],
)
def test_libaio_is_there_missing_or_does_not_link(libaio, seen, gcc, said):
    found = ops(gcc, seen=seen, libaio=libaio)["libaio"]
    assert said in found.found
    assert ("ok" if libaio else "warning") == found.status


ON_CUDA = {**ON_CPU, "FusedAdamBuilder": {"installed": False, "cuda_toolkit": True}}


@pytest.mark.parametrize(
    ("nvcc", "cuda", "status", "said"),
    [
        ("12.8", {"torch_cuda": "12.8", "refused": None}, "ok", "release 12.8, torch is built"),
        ("13.0", {"torch_cuda": "12.8", "refused": "mismatch"}, "warning", "release 13.0, torch"),
        (None, {"torch_cuda": "12.8", "refused": "no CUDA_HOME"}, "warning", "there is none"),
        ("12.8", {"torch_cuda": None, "refused": None}, "warning", "torch is built without CUDA"),
    ],
)
def test_nvcc_is_held_against_the_cuda_of_torch(nvcc, cuda, status, said):
    found = ops(nvcc=nvcc, cuda=cuda, accelerator="cuda", builders=ON_CUDA, needed=NEEDED[1:])
    assert status == found["nvcc"].status
    assert said in found["nvcc"].found
    assert status == found["op fused_adam"].status
    assert "ok" == found["op cpu_adam"].status  # needs no nvcc


def test_another_toolkit_is_named_by_the_folder_that_cuda_home_is_to_say():
    cuda = {"torch_cuda": "99.7", "refused": "mismatch"}
    advice = ops(nvcc="13.0", cuda=cuda, accelerator="cuda")["nvcc"].advice
    assert "install the CUDA toolkit 99.7; type export CUDA_HOME=/usr/local/cuda-99.7" == advice


def test_the_default_study_needs_what_its_space_offers():
    assert NEEDED == ops_of_default_study("cpu")
    assert ("CPUAdamBuilder",) == ops_of_default_study("cuda")


def executable(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_compiler_that_compiles_nothing_is_not_one(tmp_path, monkeypatch):
    broken = executable(
        tmp_path / "c++", "echo 'x.cpp:1: fatal error: vector: not here' >&2; exit 1"
    )
    monkeypatch.setenv("CXX", str(broken))
    assert "fatal error: vector: not here" in compiler().found
    assert not compiler().works


def test_headers_of_python_that_are_missing_are_what_is_to_be_installed(tmp_path, monkeypatch):
    broken = executable(tmp_path / "c++", "echo 'error: Python.h: No such file' >&2; exit 1")
    monkeypatch.setenv("CXX", str(broken))
    assert "python3-dev" in compiler().advice


def test_a_compiler_that_does_not_come_apart_into_words_is_named(monkeypatch):
    monkeypatch.setenv("CXX", "g++ '")
    assert "CXX=g++ ': no closing quotation" == compiler().found
    assert "type unset CXX" == compiler().advice


def test_a_compiler_that_hangs_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(tools_looked_at, "TOOL_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setenv("CXX", str(executable(tmp_path / "c++", "exec sleep 60")))
    assert "no answer within 0.3 s" in compiler().found


def test_nvcc_is_looked_for_where_cuda_home_says(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    executable(tmp_path / "bin" / "nvcc", "echo 'Cuda compilation tools, release 12.4, V12.4.131'")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert "12.4" == nvcc_release()
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "nowhere"))
    assert nvcc_release() is None


@pytest.mark.parametrize(
    ("free", "status"), [(1 * GIB, "failure"), (3 * GIB, "warning"), (9 * GIB, "ok")]
)
def test_little_free_memory_is_told(free, status):
    found = host_memory(free, 16 * GIB)
    assert status == found.status
    assert f"{free / GIB:.2f} GiB free of 16.00 GiB" in found.found


@pytest.mark.parametrize(
    ("free", "status"), [(2**20, "failure"), (64 * 2**20 * 2, "warning"), (2 * GIB, "ok")]
)
def test_little_shared_memory_is_told(free, status):
    found = shared_memory(free)
    assert status == found.status
    assert ("ok" == status) or "remount,size=8G /dev/shm" in found.advice


@pytest.mark.parametrize(
    ("used", "status"), [(GIB // 2, "ok"), (10 * GIB, "warning"), (79 * GIB, "failure")]
)
def test_a_device_that_someone_works_on_is_told(used, status):
    assert status == device_memory("3", used, 80 * GIB).status


def test_no_more_is_free_than_there_is():
    assert 0 < available_bytes() < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_a_device_without_bf16_says_which_precision_to_type():
    machine = Machine(
        cores=2, host_memory_bytes=GIB, devices=2, device_name="T4", bf16=False, fp16=True
    )
    devices, dtypes = device_findings(machine, "cuda")
    assert "2 x T4, 2 cores" == devices.found
    assert "type precision=fp16 with your study" == dtypes.advice


def test_locked_memory_matters_where_something_locks_it():
    assert "ok" == pinned_limit(8 * 2**20, wanted=False).status
    assert "warning" == pinned_limit(8 * 2**20, wanted=True).status
    assert "ulimit -l unlimited" in pinned_limit(8 * 2**20, wanted=True).advice
    assert "unlimited" == pinned_limit(resource.RLIM_INFINITY, wanted=True).found


def test_a_low_limit_of_open_files_is_told():
    assert "type ulimit -n 65536" == open_files_limit(256).advice
    assert "ok" == open_files_limit(1024).status


@pytest.mark.parametrize(
    ("installed", "status"),
    [
        (None, "failure"),
        ("2.3.1", "failure"),
        ("2.6.0+cu124", "warning"),
        ("2.13.1", "ok"),
        ("2.13.0+cpu", "ok"),
        ("3.0.0a1", "warning"),
    ],
)
def test_a_version_is_too_old_untried_or_known_to_work(installed, status):
    found = version_finding("torch", installed)
    assert status == found.status
    assert ("ok" == status) or "pip install torch==2.13.0" in found.advice


def test_versions_that_are_known_are_those_that_the_project_asks_for_and_tests_with():
    project, pinned = ((ROOT / n).read_text() for n in ("pyproject.toml", "constraints.txt"))
    for name, (least, tested) in KNOWN.items():
        assert f'"{name}>={least}' in project
        assert f"{name}=={tested}\n" in pinned


def test_a_stale_lock_is_named_and_left_where_it_is(tmp_path, monkeypatch):
    pytest.importorskip("deepspeed", reason="the folder is named by its version and torch's")
    ours, scripts = tmp_path / "ours", tmp_path / "scripts"
    monkeypatch.setenv("SWEEPER_CACHE_DIR", str(ours))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(scripts))
    assert ["none is stale"] == [finding.found for finding in lock_findings()]
    from sweeper.places import extensions_dir

    locks = [extensions_dir() / "cpu_adam" / "lock", scripts / "fused_adam" / "lock"]
    locks.append(tmp_path / "cache" / "torch_extensions" / "py311_cpu" / "cpu_adam" / "lock")
    for lock in locks:
        lock.parent.mkdir(parents=True)
        lock.touch()
    found = list(lock_findings())
    assert {f"type rm {lock}" for lock in locks} == {finding.advice for finding in found}
    assert {"warning"} == {finding.status for finding in found}
    assert all(lock.exists() for lock in locks)
    with open(locks[0]):  # its builder lives
        assert 2 == len(list(lock_findings()))


def test_room_is_judged_where_it_would_be_written_and_nothing_is_made(tmp_path):
    (found,) = room_findings("studies", tmp_path / "results" / "deep")
    assert "failure" != found.status
    assert f"free in {tmp_path / 'results' / 'deep'}" in found.found
    assert [] == list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_a_failure():
    (found,) = room_findings("cache", Path("/proc/cache"))
    assert "failure" == found.status
    assert "/proc/cache cannot be written" in found.found
    assert "type export SWEEPER_CACHE_DIR=<folder>" == found.advice


def test_the_speed_of_a_drive_is_measured_and_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(storage_looked_at, "MOST_BYTES", 16 * 2**20)
    speed = measure_speed(tmp_path)
    assert speed.write_bytes_per_second > 0
    assert speed.read_bytes_per_second > 0
    assert 16 * 2**20 == speed.num_bytes
    assert [] == list(tmp_path.iterdir())


def test_a_file_system_without_o_direct_is_measured_through_the_page_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(storage_looked_at, "MOST_BYTES", 16 * 2**20)
    real = os.pwrite
    refused = []

    def refuse_the_first(descriptor, data, offset):
        if not refused:
            refused.append(offset)
            raise OSError(22, "Invalid argument")
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", refuse_the_first)
    assert not measure_speed(tmp_path).direct


@pytest.mark.parametrize(
    ("rate", "direct", "kind", "status", "said"),
    [
        (3e9, True, "ext4", "ok", "writes 3.00 GB/s, reads 3.00 GB/s, by one thread"),
        (2e8, True, "ext4", "warning", "slower than NVMe drives are"),
        (5e9, False, "zfs", "warning", "refuses O_DIRECT"),
        (5e9, True, "tmpfs", "warning", "it is memory, no drive"),
    ],
)
def test_a_drive_is_judged_by_how_it_was_measured(rate, direct, kind, status, said):
    speed = Speed(
        write_bytes_per_second=rate,
        read_bytes_per_second=rate,
        num_bytes=512 * 2**20,
        direct=direct,
    )
    found = nvme_speed(Path("/nvme"), speed, 100 * GIB, kind)
    assert status == found.status
    assert said in found.found


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="needs a /dev/shm of its own")
def test_a_drive_that_is_memory_is_told(monkeypatch):
    monkeypatch.setattr(storage_looked_at, "MOST_BYTES", 2**20)
    (found,) = nvme_findings(Path("/dev/shm"))
    assert "/dev/shm (tmpfs)" in found.found
    assert "warning" == found.status


@pytest.mark.parametrize(
    ("path", "said"),
    [("/nowhere/nvme", "is not a folder"), ("/proc", "cannot be written and read")],
)
def test_a_drive_that_is_not_there_or_refuses_is_named(path, said):
    (found,) = nvme_findings(Path(path))
    assert "warning" == found.status
    assert f"{path} {said}" in found.found


def test_a_hostfile_is_read_as_deepspeed_reads_it():
    hosts, wrong = hosts_in(
        "# ours\n\nnode1 slots=8\nnode2  slots=4 # half\nnode1 slots=2\nnode3\n-oProxyCommand=x slots=1\n"
    )
    assert {"node1": 8, "node2": 4} == hosts
    assert ["line 5", "line 6", "line 7"] == [finding.found.partition(",")[0] for finding in wrong]


def test_a_folder_is_no_hostfile(tmp_path):
    (finding,) = host_findings(tmp_path)
    assert "type --hostfile <file>" in finding.advice


def test_a_hostfile_that_is_not_there_is_named(tmp_path):
    (found,) = host_findings(tmp_path / "hostfile")
    assert "cannot be read: No such file" in found.found


@pytest.fixture
def reached_by(tmp_path, monkeypatch):
    """The findings of two hosts where ``ssh`` does what the text says."""

    def findings(text):
        programs = tmp_path / "programs"
        programs.mkdir()
        executable(programs / "ssh", text)
        monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
        (tmp_path / "hostfile").write_text("node1 slots=8\nnode2 slots=8\n")
        return by_name(host_findings(tmp_path / "hostfile"))

    return findings


HERE = 'for last; do :; done; exec sh -c "$last"'


def test_a_host_that_has_the_same_python_and_folder_is_well(reached_by):
    found = reached_by(HERE)
    assert "2 host(s), 16 slot(s)" == found["hostfile"].found
    assert "ok" == found["host node1"].status
    assert "same Python and folder" in found["host node2"].found


def test_a_host_that_lacks_this_python_is_named(reached_by, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/py thon")
    found = reached_by(HERE)["host node1"]
    assert "warning" == found.status
    assert "reachable, but lacks /nowhere/py thon" == found.found


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("Host key verification failed.", "type ssh-keyscan -H node1 >> ~/.ssh/known_hosts"),
        ("root@node1: Permission denied (publickey).", "type ssh-copy-id node1"),
        ("ssh: Could not resolve hostname node1", "getent hosts node1"),
        ("ssh: connect to host node1: Connection refused", "type ssh -v node1 true"),
    ],
)
def test_what_ssh_says_decides_what_to_type(reached_by, said, advice):
    found = reached_by(f"echo '{said}' >&2; exit 255")["host node1"]
    assert f"not reachable: {said}" == found.found
    assert advice in found.advice


def test_hosts_that_hang_are_given_up_and_asked_at_once(reached_by, monkeypatch):
    monkeypatch.setattr(hosts_looked_at, "ANSWER_SECONDS", 1.0)
    started = time.monotonic()
    found = reached_by("exec sleep 60")
    assert "not reachable: no answer within 1 s" == found["host node1"].found
    assert "not reachable: no answer within 1 s" == found["host node2"].found
    assert time.monotonic() - started < 30  # of 60


def test_a_call_that_hangs_is_left_behind():
    never = threading.Event()
    with pytest.raises(TimeoutError, match=r"no answer within 0\.1 s"):
        Background(never.wait).result(0.1)
    never.set()
    assert 3 == Background(lambda: 3).result(10)


def test_a_hanging_call_does_not_keep_the_interpreter():
    code = (
        "import threading\n"
        "from sweeper.run.background import Background\n"
        "try:\n    Background(threading.Event().wait).result(0.1)\n"
        "except TimeoutError:\n    print('left')\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert (0, "left\n") == (finished.returncode, finished.stdout)


@pytest.mark.parametrize(("vital", "status"), [(False, "warning"), (True, "failure")])
def test_a_look_that_fails_is_a_line_of_its_own(vital, status):
    def look():
        yield ok("a", "b")
        raise ValueError("no such thing\nand more")

    check = Check(name="memory", look=look, by_hand="free -h", vital=vital)
    (found,) = answer(check, check.start())
    assert (status, "memory", "type free -h") == (found.status, found.name, found.advice)
    assert "cannot be looked at: no such thing" == found.found


def test_the_text_is_plain_and_what_to_type_is_never_broken():
    command = f"type {'very-long-command ' * 12}".strip()
    text = doctor_text([ok("a", "word " * 40), warning("b", "\x1b[31mred\x07", command)])
    assert "\x1b" not in text
    assert "\x07" not in text
    assert f"         -> {command}" in text.splitlines()
    assert all(len(line) <= 80 for line in text.splitlines() if "->" not in line)
    assert "The default study can run here: 0 failure(s), 1 warning(s)." == text.splitlines()[-1]


def test_a_failure_is_the_exit_code_of_an_unfit_environment():
    check_fit([ok("a", ""), warning("b", "", "")])
    with pytest.raises(EnvironmentUnfit, match="cannot run on this machine: c; do what"):
        check_fit([warning("b", "", ""), failure("c", "", "")])
    assert 4 == EnvironmentUnfit.exit_code


@pytest.mark.parametrize(
    "wrong", [("nvme",), ("--nvme",), ("--accelerator", "tpu"), ("--host", "x")]
)
def test_arguments_that_there_are_not_are_one_line(wrong):
    with pytest.raises(UsageError, match="type python -m sweeper doctor") as error:
        asked_for(wrong)
    assert "\n" not in str(error.value)
