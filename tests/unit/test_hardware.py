"""Hardware that is named: what it brings, and where it may be trained on."""

import pytest
import yaml

from sweeper.errors import EnvironmentUnfit
from sweeper.hydra_edge.default_hardware import default_hardware, note_on_hardware
from sweeper.hydra_edge.explain import compose
from sweeper.hydra_edge.options import options
from sweeper.places import conf_dir
from sweeper.run import cuda_devices
from sweeper.run.hardware_here import check_hardware
from tests.support import nano

NAMED = [name for name in options("hardware") if name not in ("cpu", "cuda")]
MODEL = "+model=gpt2-nano"


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A machine whose nvidia-smi lists these."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for name in ("CUDA_VISIBLE_DEVICES", "DS_ACCELERATOR"):
        monkeypatch.delenv(name, raising=False)

    def lists(*names):
        said = "".join(f"GPU {n}: {name} (UUID: GPU-{n})\n" for n, name in enumerate(names))
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\nprintf '{said}'\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
        cuda_devices._visible.cache_clear()

    yield lists
    cuda_devices._visible.cache_clear()


@pytest.mark.parametrize(
    ("typed", "chosen"),
    [
        ((), "cpu"),
        (("hardware.accelerator=cuda",), "cuda"),
        (("hardware.accelerator=cpu", "hardware.device_memory=24GiB"), "cpu"),
        (("++hardware.device_memory=24GiB",), "cuda"),
        (("hardware.device_memory=null",), "cpu"),
        (("hardware.accelerator=tpu",), "cpu"),  # which is refused later
    ],
)
def test_what_is_typed_of_hardware_chooses_a_group(driver, typed, chosen):
    driver()
    assert chosen == default_hardware([MODEL, *typed])


def test_a_group_that_is_typed_needs_no_answer_of_the_driver(driver, monkeypatch):
    driver("NVIDIA H200")
    assert "cuda" == default_hardware([MODEL])
    monkeypatch.setattr("sweeper.run.nvidia_smi.TIMEOUT_SECONDS", 0.0)
    cuda_devices._visible.cache_clear()
    assert "cpu" == default_hardware([MODEL, "hardware=cuda"])  # whose place the typed one takes
    with pytest.raises(EnvironmentUnfit):
        default_hardware([MODEL])


def test_an_accelerator_alone_has_what_its_group_has_and_it_is_said(driver):
    driver()
    alone, group = (
        compose([MODEL, typed, "hardware.ranks=8"])
        for typed in ("hardware.accelerator=cuda", "hardware=cuda")
    )
    assert alone == group
    assert ("bf16", 1024) == (alone.precision.mode, alone.workload.sequence_length)
    assert "is taken for hardware=cuda" in note_on_hardware([MODEL, "hardware.accelerator=cuda"])
    assert note_on_hardware([MODEL, "hardware=cuda", "hardware.accelerator=cuda"]) is None
    assert note_on_hardware([MODEL]) is None


@pytest.mark.parametrize("name", NAMED)
def test_a_named_gpu_brings_its_memory_a_gpus_workload_and_a_source_for_each_value(name):
    settings = compose([MODEL, f"hardware={name}", "hardware.ranks=8"])
    assert ("cuda", 8) == (settings.hardware.accelerator, settings.hardware.ranks)
    assert ("bf16", 1024) == (settings.precision.mode, settings.workload.sequence_length)
    assert settings.hardware.device_memory_bytes >= 23 * 2**30
    text = (conf_dir() / "hardware" / f"{name}.yaml").read_text()
    values = [line for line in text.partition("\nhardware:\n")[2].splitlines() if line.strip()]
    assert 4 <= len(values) == len(yaml.safe_load(text)["hardware"])
    assert [] == [line for line in values if " # " not in line and line.strip() != "ranks: 1"]


def test_what_is_typed_beside_a_named_gpu_counts():
    typed = ("hardware=h100", "workload.sequence_length=64", "hardware.device_memory=60GiB")
    settings = compose([MODEL, *typed])
    assert 64 == settings.workload.sequence_length
    assert 60 * 2**30 == settings.hardware.device_memory_bytes


CUDA = {"hardware.accelerator": "cuda"}
H200 = {**CUDA, "hardware.device_name": "NVIDIA H200"}


def test_trials_run_on_the_hardware_that_was_named(driver):
    driver("NVIDIA H200", "NVIDIA H200")
    check_hardware(nano(**H200))
    check_hardware(nano(**CUDA))
    check_hardware(nano())


@pytest.mark.parametrize(
    ("here", "asked", "said"),
    [
        (("NVIDIA L4",), H200, r"this machine has NVIDIA L4; type hardware=cuda"),
        ((), H200, r"device_name=NVIDIA H200: this machine has no CUDA device; type hardware=cpu"),
        ((), CUDA, r"accelerator=cuda: this machine has no CUDA .* hardware=h100, for hardware"),
    ],
)
def test_trials_on_other_hardware_are_refused_in_one_line(driver, here, asked, said):
    driver(*here)
    with pytest.raises(EnvironmentUnfit, match=said) as refused:
        check_hardware(nano(**asked))
    assert "python -m sweeper explain" in str(refused.value)


def test_devices_that_nvidia_smi_does_not_know_are_left_to_torch(driver, monkeypatch):
    driver()
    monkeypatch.setenv("DS_ACCELERATOR", "cuda")
    check_hardware(nano(**CUDA))
