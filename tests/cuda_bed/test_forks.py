"""What ranks are forked from touches neither CUDA nor NVML, and where something did the ranks go on without it."""

import os
import subprocess
import sys

import pytest

from tests.cuda_bed import drivers
from tests.support import ROOT

FAKE_WORKER = str(ROOT / "tests" / "faults" / "fake_worker.py")
pytestmark = pytest.mark.timeout(300)

# What torch's own CUDA build would ask NVML or CUDA for, noted; and a pynvml that is installed.
NOTES = """
import os, torch

def noted(name, answer):
    def asked(*given, **named):
        with open(os.environ["STUB_LOG"], "a") as log:
            log.write(f"torch.cuda.{name} {os.getpid()}\\n")
        return answer
    return asked

for name, answer in {"is_available": True, "device_count": 1, "_lazy_init": None}.items():
    setattr(torch.cuda, name, noted(name, answer))
"""
PYNVML = """
import ctypes
class NVMLError(Exception): pass
def nvmlInit():
    if ctypes.CDLL("libnvidia-ml.so.1").nvmlInit_v2(): raise NVMLError("not here")
"""


@pytest.fixture
def bed(tmp_path):
    """Runs code with the libraries that count; returns what it said, and what was asked of them."""
    stubs = drivers.libraries(tmp_path / "stubs")
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "pynvml.py").write_text(PYNVML)

    def run(code, **more):
        log = tmp_path / "asked.log"
        log.write_text("")
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(packages), str(ROOT)]),
                "LD_LIBRARY_PATH": str(stubs),
                "STUB_LOG": str(log),
                "DS_ACCELERATOR": "cuda",
                **more,
            },
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )
        assert 0 == done.returncode, done.stderr[-3000:]
        return done.stdout + done.stderr, log.read_text().splitlines()

    return run


def test_loading_what_ranks_are_forked_from_asks_neither_cuda_nor_nvml(bed):
    _, asked = bed(NOTES + "import sweeper.worker.preload")
    assert [] == asked


def test_the_bed_would_notice(bed):
    _, asked = bed(
        NOTES + "from deepspeed.accelerator import get_accelerator\n"
        "get_accelerator()\ntorch.cuda.is_available()"
    )
    assert ["nvmlInit", "torch.cuda.is_available"] == [line.split()[0] for line in asked]


def test_a_script_may_use_nvml_all_the_same(bed):
    _, asked = bed(
        "from sweeper.worker.nvml import as_if_not_installed\n"
        "with as_if_not_installed():\n"
        "    from deepspeed.accelerator import get_accelerator\n"
        "    get_accelerator()\n"
        "import pynvml\npynvml.nvmlInit()"
    )
    assert ["nvmlInit"] == [line.split()[0] for line in asked]


def test_a_rank_knows_what_a_fork_cannot_use(bed):
    said, asked = bed(
        "import ctypes, os, sys\n"
        "from sweeper.worker.forked import _is_spoilt\n"
        "if sys.argv[1:] or os.environ.get('SPOIL'): ctypes.CDLL('libcuda.so.1').cuInit(0)\n"
        "if not os.fork():\n"
        "    print(_is_spoilt(), flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()",
        SPOIL="1",
    )
    assert "True\n" == said
    assert 2 == len(asked)
    said, _ = bed("from sweeper.worker.forked import _is_spoilt\nprint(_is_spoilt())")
    assert "False\n" == said


# Initialises CUDA where the standard library's fork server starts; DeepSpeed's launcher sees eight devices.
SPOILER = """
import sys
if "forkserver" in " ".join(sys.orig_argv):
    import ctypes
    ctypes.CDLL("libcuda.so.1").cuInit(0)
if "deepspeed.launcher.runner" in sys.orig_argv:
    import torch
    torch.cuda.device_count = lambda: 8
"""
TWO_TRIALS = """
from dataclasses import replace
from pathlib import Path
from sweeper.core.files import write_json
from sweeper.core.folder import TrialFolder
from sweeper.core.plan import plan
from sweeper.run.warm import WarmRunner
from tests.support import MACHINE, nano

machine = replace(MACHINE, devices=1, device_memory_bytes=80 * 2**30, bf16=True)
spec = plan(nano(**{"hardware.accelerator": "cuda", "precision.mode": "bf16"}), machine).ready
runner = WarmRunner((FAKE_WORKER,))
for number in range(2):
    folder = TrialFolder(Path(str(number)).resolve())
    write_json(folder.spec, spec.to_json())
    outcome = runner.run(spec, folder)
    assert type(outcome).__name__ == "Measured", (outcome, folder.stderr.read_text())
runner.close()
"""


@pytest.mark.parametrize(
    ("listing", "visible", "launcher", "named"),
    [
        (drivers.CUT_A100, "MIG-2222", "torchrun", "MIG-22220000-1111-5222-9333-444455556666"),
        (drivers.EIGHT_H100, "GPU-5f2e", "deepspeed", "--include=localhost:5"),
    ],
    ids=["part", "uuid"],
)
def test_where_the_forks_are_spoilt_a_launcher_takes_over(
    listing, visible, launcher, named, bed, tmp_path
):
    (tmp_path / "packages" / "sitecustomize.py").write_text(SPOILER)
    smi = drivers.nvidia_smi(tmp_path / "bin", listing)
    said, asked = bed(
        f"FAKE_WORKER = {FAKE_WORKER!r}\n{TWO_TRIALS}",
        PATH=drivers.first_on_path(smi),
        CUDA_VISIBLE_DEVICES=visible,
        FAKE_BEHAVIOUR="well",
    )
    assert f"going on with launch={launcher}" in said
    # The server's and one rank's: the second trial is not tried again. DeepSpeed's launcher asks NVML for itself.
    assert 2 == len([line for line in asked if line.startswith("cuInit")])
    assert named in (tmp_path / "1" / "command.txt").read_text()
