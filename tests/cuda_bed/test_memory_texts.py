"""What libraries say when memory runs out, as they say it, and which memory that was."""

import pytest

from sweeper.core.foresight import Foresight
from sweeper.core.machine import Machine
from sweeper.core.memory.calibration import Calibration
from sweeper.core.memory.host_calibration import HostCalibration
from sweeper.core.memory.model import MemoryNeed
from sweeper.core.memory_errors import memory_reason, memory_that_ran_out
from sweeper.core.outcome import OutOfMemory
from sweeper.core.plan import plan
from sweeper.worker.failures import failure
from tests.support import nano, trial_of
from tests.unit.test_memory_model import PROFILE

NCCL = """NCCL error in: /pytorch/torch/csrc/distributed/c10d/NCCLUtils.cpp:93, unhandled cuda error (run with NCCL_DEBUG=INFO for details), NCCL version 2.27.7
ncclUnhandledCudaError: Call to CUDA function failed.
Last error:
Cuda failure 2 'out of memory'"""
# Whose words, which memory, the words.
TEXTS = [
    ("torch 2.13 allocator", "device", "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"),
    ("CUDA runtime 13", "device", "CUDA error: out of memory\nCUDA kernel errors might be"),
    ("torch 2.13, expandable segments", "device", "CUDA driver error: out of memory"),
    ("NCCL 2.27", "device", NCCL),
    ("NCCL 2.18", "device", "ncclUnhandledCudaError ... Cuda failure 'out of memory'"),
    ("Triton 3.7", "device", "Triton Error [CUDA]: out of memory"),
    (
        "cuBLAS 12",
        "device",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(h)`",
    ),
    (
        "cuBLAS 13, no room for its workspace",
        "device",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    ),
    ("cuDNN 8", "device", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    (
        "cuDNN 9",
        "device",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    ),
    ("torch 2.13 on a CPU", "host", "DefaultCPUAllocator: can't allocate memory: you tried to"),
    ("libstdc++", "host", "std::bad_alloc"),
    ("NCCL, another failure", None, "Cuda failure 700 'an illegal memory access was encountered'"),
    (
        "cuBLAS, another call",
        None,
        "CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasGemmEx(...)`",
    ),
    ("CUDA, no such device", None, "CUDA error: invalid device ordinal"),
]


@pytest.mark.parametrize(("whose", "memory", "text"), TEXTS, ids=[whose for whose, *_ in TEXTS])
def test_out_of_memory_is_known_by_the_words_of_all_who_say_it(whose, memory, text):
    assert memory == memory_that_ran_out(text)
    result = failure(RuntimeError(text), phase="measure", limited=False)
    assert ("out-of-memory" if memory else "error") == result["kind"]
    assert memory == result.get("memory")


def test_the_line_of_nccl_that_is_told_is_the_one_that_says_memory():
    assert "Cuda failure 2 'out of memory'" == memory_reason(NCCL)
    assert "out of memory" in failure(RuntimeError(NCCL), phase="build", limited=False)["reason"]


def test_page_locked_memory_that_runs_out_is_the_hosts():
    """In CUDA's words it is the device's: where it was asked for tells."""

    class Tensor:
        def pin_memory(self):
            raise RuntimeError("CUDA error: out of memory")

    with pytest.raises(RuntimeError) as error:
        Tensor().pin_memory()
    assert "host" == failure(error.value, phase="initialize", limited=False)["memory"]


NEED = MemoryNeed(
    device={"parameters": 4 * 2**30, "activations": 2 * 2**30},
    host={"optimizer": 8 * 2**30},
    shared=False,
    untouched_bytes=0,
)


def test_memory_that_ran_out_on_the_host_says_nothing_of_the_devices():
    settings = nano(**{"hardware.accelerator": "cuda"})
    untaught, taught = Calibration(), Calibration()
    lack = {"phase": "initialize", "reason": "r"}
    taught.learn(settings, NEED, OutOfMemory(memory="host", **lack), NEED.peak_bytes)
    assert untaught.estimate(settings, NEED) == taught.estimate(settings, NEED)
    taught.learn(settings, NEED, OutOfMemory(memory="device", **lack), NEED.peak_bytes)
    assert untaught.estimate(settings, NEED) != taught.estimate(settings, NEED)


def test_the_hosts_memory_is_learnt_from_what_was_resident_and_from_what_ran_out():
    expected = 10.0
    taught = HostCalibration()
    before = taught.estimate(expected)
    taught.exceeded(1.2)
    after = taught.estimate(expected)
    assert after.mean_bytes > before.mean_bytes
    for _ in range(5):
        taught.measured(1.5)
    learnt = taught.estimate(expected)
    assert learnt.mean_bytes == pytest.approx(15.0, rel=0.03)
    assert learnt.deviation_bytes < before.deviation_bytes / 2


def test_a_study_is_taught_of_each_memory_by_what_was_seen_of_it():
    """After the host ran out, what needs as much of it is no longer expected to run; the device's is as before."""
    machine = Machine(cores=16, host_memory_bytes=4 * 2**30, devices=1, device_memory_bytes=2**40)
    on_gpu = {"hardware.accelerator": "cuda", "precision.mode": "bf16", "batch.micro_size": 8}
    offload = {**on_gpu, "zero.stage": 2, "offload.optimizer": "cpu"}
    planned = plan(nano(**offload), machine)
    foresight = Foresight(lambda settings: PROFILE, machine)
    before, device = foresight.likelihood(planned), foresight.estimate(planned)
    assert before > 0
    lack = OutOfMemory(memory="host", phase="initialize", reason="r")
    foresight.learn(trial_of(0, lack, **offload))
    assert foresight.likelihood(planned) < before
    assert device == foresight.estimate(planned)
