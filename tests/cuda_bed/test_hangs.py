"""Devices that cannot talk to each other: a study that hangs in its first collective ends early, with what to try."""

from dataclasses import replace

import pytest

from sweeper.core.outcome import TimedOut
from sweeper.core.plan import plan
from sweeper.run.ranks import Ending, RanksReport, outcome_of
from tests.support import MACHINE, nano

EIGHT = replace(MACHINE, devices=8, device_memory_bytes=80 * 2**30, bf16=True)


def hung(phase, accelerator, ranks):
    report = RanksReport(
        results=[None] * ranks,
        phases=[phase] * ranks,
        exit_code=None,
        ending=Ending.NO_PROGRESS,
        kernel_killed=False,
        log_tail="",
    )
    settings = nano(**{"hardware.accelerator": accelerator, "hardware.ranks": ranks})
    return outcome_of(report, plan(settings, EIGHT).ready)


def test_several_devices_that_hang_before_a_step_are_told_what_to_try():
    told = hung("initialize", "cuda", 2)
    assert isinstance(told, TimedOut)
    assert "type export NCCL_P2P_DISABLE=1, or export NCCL_DEBUG=INFO" in told.reason


@pytest.mark.parametrize(
    ("phase", "accelerator", "ranks"),
    [("measure", "cuda", 2), ("initialize", "cpu", 2), ("initialize", "cuda", 1)],
)
def test_what_cannot_be_nccl_is_not_called_so(phase, accelerator, ranks):
    assert "NCCL" not in hung(phase, accelerator, ranks).reason
