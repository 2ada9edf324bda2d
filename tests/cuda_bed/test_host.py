"""What a GPU host's own ways change in the numbers: TF32, toolkits, a card's peak, what NCCL leaves behind."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from sweeper.core.outcome import Measured
from sweeper.report import utilization
from sweeper.run.shared_memory import clear_shared_memory
from tests.support import ROOT, measured, trial_of


def test_fp32_with_tf32_turned_on_is_a_share_of_tf32s_peak():
    outcome = measured(1000.0, tokens_per_step=1000)
    m = replace(outcome.measurement, flops_per_step=156e12 / 2)
    trial = trial_of(0, Measured(measurement=m))
    device = {"device": "NVIDIA A100-SXM4-80GB"}
    on = replace(trial, environment={**device, "tf32": True})
    assert utilization.model_flops_utilization(on) == pytest.approx(0.5)
    assert utilization.model_flops_utilization(replace(trial, environment=device)) > 1


def test_the_cards_that_people_have_have_a_peak_with_its_source():
    document = json.loads((ROOT / "sweeper" / "report" / "device_peaks.json").read_text())
    peaks = {device["name"]: device for device in document["devices"]}
    names = (
        "NVIDIA A100-SXM4-80GB, NVIDIA H100 80GB HBM3, NVIDIA H100 NVL, NVIDIA H200, NVIDIA B200, NVIDIA L40S,"
        " NVIDIA GeForce RTX 4090, NVIDIA GeForce RTX 5090, NVIDIA RTX A6000, NVIDIA RTX 6000 Ada Generation,"
        " NVIDIA A10, NVIDIA A40, Tesla T4, Tesla V100-SXM2-32GB"
    )
    for name in names.split(", "):
        device = peaks[name]
        assert device["source"]
        assert device["fp32"] <= device.get("tf32", device["fp32"]) <= device["fp16"]


@pytest.mark.parametrize(
    ("release", "refused"),
    [("13.0", None), ("13.1", None), ("12.8", "release 12 is not torch's 13.0"), (None, "nvcc")],
)
def test_a_toolkit_of_another_minor_release_compiles_as_well(
    release, refused, tmp_path, monkeypatch
):
    torch = pytest.importorskip("torch")
    from torch.utils import cpp_extension

    from sweeper.worker import machine

    if release is not None:
        nvcc = tmp_path / "bin" / "nvcc"
        nvcc.parent.mkdir()
        nvcc.write_text(
            f"#!/bin/sh\necho 'Cuda compilation tools, release {release}, V{release}.1'\n"
        )
        nvcc.chmod(0o755)
    monkeypatch.setattr(cpp_extension, "CUDA_HOME", str(tmp_path))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    found = machine.cuda_toolkit()["refused"]
    assert found is None if refused is None else refused in found


def test_a_limit_is_set_on_the_ranks_own_device(monkeypatch):
    torch = pytest.importorskip("torch")
    from sweeper.worker.share import limit_memory

    said = []
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(
        torch.cuda,
        "set_per_process_memory_fraction",
        lambda f, device=None: said.append((f, device)),
    )
    accelerator = SimpleNamespace(
        device_name=lambda: "cuda", total_memory=lambda device: 80 * 2**30 if device == 3 else 0
    )
    limit_memory(SimpleNamespace(memory_limit_bytes=20 * 2**30), accelerator)
    assert [(0.25, 3)] == said


def test_what_nccl_left_of_killed_ranks_is_removed_and_what_is_in_use_is_not(tmp_path):
    import mmap

    old, used, new = (tmp_path / f"nccl-{name}" for name in ("old", "used", "new"))
    for path in (old, used, new):
        path.write_bytes(b"x" * 4096)
    for path in (old, used):
        os.utime(path, (time.time() - 3600,) * 2)
    with open(used, "r+b") as file, mmap.mmap(file.fileno(), 0):
        assert [old] == clear_shared_memory(Path(tmp_path))
    assert used.exists()
    assert new.exists()  # ranks that start may not have mapped it yet
