from dataclasses import replace

import pytest

from sweeper.core.outcome import Measured
from sweeper.report.utilization import model_flops_utilization
from tests.support import measured, trial_of


def trial_on(device, *, tflops, **changes):
    outcome = measured(1000.0, tokens_per_step=1000)  # one step takes a second
    m = replace(outcome.measurement, flops_per_step=tflops * 1e12)
    return replace(trial_of(0, Measured(measurement=m), **changes), environment={"device": device})


def test_mfu_is_the_share_of_the_devices_dense_peak_in_the_dtype():
    bf16 = trial_on("NVIDIA H200", tflops=494.7, **{"precision.mode": "bf16"})
    assert pytest.approx(0.5) == model_flops_utilization(bf16)
    fp32 = trial_on("NVIDIA H200", tflops=6.69)
    assert pytest.approx(0.1) == model_flops_utilization(fp32)


def test_an_unknown_device_has_no_mfu_instead_of_another_devices():
    assert model_flops_utilization(trial_on("Some CPU", tflops=1.0)) is None


def test_a_dtype_that_a_device_has_no_peak_for_has_no_mfu():
    assert (
        model_flops_utilization(trial_on("Tesla T4", tflops=1.0, **{"precision.mode": "bf16"}))
        is None
    )
