"""What only a CUDA device can show: `make test-gpu` on a GPU host."""

import json
from dataclasses import replace

import pytest

from sweeper.core.folder import TrialFolder
from sweeper.core.machine import Machine
from sweeper.core.outcome import Measured, OutOfMemory, reason_of
from sweeper.core.plan import plan
from sweeper.report.utilization import model_flops_utilization
from sweeper.run.machine import device_count
from sweeper.run.runners import runner
from tests.support import nano, trial_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(600),
    pytest.mark.skipif(device_count() == 0, reason="needs a CUDA device"),
]
MACHINE = Machine(cores=2, host_memory_bytes=2**36, devices=1)
CUDA = {"hardware.accelerator": "cuda", "precision.mode": "bf16"}


def run(folder, how="deepspeed", **changes):
    spec = plan(nano(**{**CUDA, **changes}), MACHINE).ready
    return runner(how).run(spec, TrialFolder(folder))


def measured(outcome):
    assert isinstance(outcome, Measured), reason_of(outcome)
    return outcome.measurement


def test_the_ledger_sees_a_known_allocation(tmp_path):
    peaks = []
    for mib in (1, 1025):
        model = {
            "_target_": "tests.gpu.known_allocation.build",
            "extra_mib": mib,
            **{"layers": 2, "width": 64, "heads": 2},
        }
        m = measured(run(tmp_path / str(mib), **{"model": model}))
        peaks.append(m.peak_device_allocated_bytes)
        assert m.peak_device_reserved_bytes >= m.peak_device_allocated_bytes
        assert {"build", "warm-up", "steady"} == set(m.memory[0])
    assert pytest.approx(2**30, rel=0.01) == peaks[1] - peaks[0]


@pytest.mark.parametrize(
    ("phase", "limit", "changes"),
    [
        ("initialize", "300MiB", {"model.width": 2048, "model.layers": 8}),
        (
            "warm-up",
            "1GiB",
            {"workload.sequence_length": 128, "model.vocab_size": 50257, "batch.micro_size": 64},
        ),
    ],
)
def test_a_real_cuda_out_of_memory_is_told_with_its_phase(tmp_path, phase, limit, changes):
    outcome = run(
        tmp_path,
        **{"hardware.memory_limit": limit, "workload.global_batch_size": 64, **changes},
    )
    assert isinstance(outcome, OutOfMemory), outcome
    assert ("device", phase) == (outcome.memory, outcome.phase)


def test_warm_and_cold_runners_give_the_same_numbers(tmp_path):
    big = {
        "model.width": 1024,
        "model.layers": 8,
        "workload.global_batch_size": 32,
        "batch.micro_size": 32,
        "workload.sequence_length": 128,
        "measure.max_warmup_steps": 5,
        "measure.min_steps": 20,
        "measure.max_steps": 20,
    }
    warm, cold = (measured(run(tmp_path / how, how, **big)) for how in ("warm", "deepspeed"))
    assert pytest.approx(cold.median_step_seconds, rel=0.05) == warm.median_step_seconds
    assert pytest.approx(cold.peak_bytes, rel=0.03) == warm.peak_bytes
    assert pytest.approx(cold.losses, rel=1e-2) == warm.losses[: len(cold.losses)]


def test_the_mfu_of_a_large_model_is_plausible(tmp_path):
    large = {
        "model.width": 2048,
        "model.heads": 16,
        "model.layers": 12,
        "model.max_positions": 1024,
        "model.vocab_size": 50257,
        "workload.sequence_length": 1024,
        "workload.global_batch_size": 16,
        "batch.micro_size": 16,
        "measure.max_warmup_steps": 4,
    }
    outcome = run(tmp_path, **large)
    m = measured(outcome)
    environment = json.loads(TrialFolder(tmp_path).result(0).read_text())["environment"]
    trial = replace(trial_of(0, outcome, **{"precision.mode": "bf16"}), environment=environment)
    utilization = model_flops_utilization(trial)
    if utilization is None:
        pytest.skip(f"no published peak for {environment['device']}")
    assert 0.1 < utilization < 0.9, m.tflops_per_device
