"""Knobs that act on a CUDA device alone: `make test-gpu` on a GPU host."""

import pytest

from sweeper.core.folder import TrialFolder
from sweeper.core.outcome import Measured, Unsupported, reason_of
from sweeper.core.plan import plan
from sweeper.run.machine import device_count
from sweeper.run.runners import runner
from tests.gpu.test_gpu import CUDA, MACHINE
from tests.support import nano

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(900),
    pytest.mark.skipif(device_count() == 0, reason="needs a CUDA device"),
]
CPU_OFFLOAD = {"zero.stage": 3, "offload.optimizer": "cpu"}
# name -> what it is compared with, and what it changes; both train the same.
KNOBS = {
    "fp16": ({}, {"precision.mode": "fp16"}),
    "fp16, fixed scale": ({}, {"precision.mode": "fp16", "precision.fp16_loss_scale": 128.0}),
    "foreach": ({}, {"optimizer.implementation": "foreach"}),
    "DeepSpeed's FusedAdam": ({}, {"optimizer.implementation": "deepspeed"}),
    "hpZ": ({"zero.stage": 3}, {"zero.hpz_partition_size": 1}),
    "qwZ": ({"zero.stage": 3}, {"zero.quantized_weights": True}),
    "expandable segments": ({}, {"launch.cuda_allocator": "expandable_segments:True"}),
    "overlap": ({"zero.stage": 2}, {"zero.overlap_comm": True}),
    "SuperOffload": (CPU_OFFLOAD, {"offload.super_offload": True}),
    "no pinned memory": (CPU_OFFLOAD, {"offload.pin_memory": False}),
    "half of the optimizer": (CPU_OFFLOAD, {"offload.optimizer_ratio": 0.5}),
    "checkpoints on the CPU": (
        {"checkpointing.every_nth_block": 1},
        {"checkpointing.on_cpu": True},
    ),
}
TOLERANCE = 2e-2  # of 16-bit training


def losses(folder, **changes):
    spec = plan(nano(**{**CUDA, **changes}), MACHINE).ready
    outcome = runner("deepspeed").run(spec, TrialFolder(folder))
    if isinstance(outcome, Unsupported):
        pytest.skip(reason_of(outcome))
    assert isinstance(outcome, Measured), reason_of(outcome)
    return outcome.measurement.losses


@pytest.mark.parametrize("name", KNOBS)
def test_a_knob_trains_as_without_it(tmp_path, name):
    beside, knob = KNOBS[name]
    without = losses(tmp_path / "without", **beside)
    with_it = losses(tmp_path / "with", **{**beside, **knob})
    assert pytest.approx(without, rel=TOLERANCE) == with_it
