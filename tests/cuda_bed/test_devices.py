"""Which devices there are: what nvidia-smi says on machines of all kinds, and what becomes of it."""

from dataclasses import replace

import pytest

from sweeper.core.plan import plan
from sweeper.errors import EnvironmentUnfit
from sweeper.run import cuda_devices, nvidia_smi
from sweeper.run.exclusive import device_memory_used
from sweeper.run.launch import device_ids
from sweeper.run.launchers import deepspeed_command, launcher_command, torchrun_command
from sweeper.run.machine import accelerator, device_count
from tests.cuda_bed import drivers
from tests.support import MACHINE, nano


@pytest.fixture
def host(tmp_path, monkeypatch):
    """Makes this machine one with another nvidia-smi, and CUDA_VISIBLE_DEVICES as given."""

    def made(listing="", visible=None, **more):
        folder = drivers.nvidia_smi(tmp_path / "bin", listing, **more)
        monkeypatch.setenv("PATH", drivers.first_on_path(folder))
        monkeypatch.delenv("DS_ACCELERATOR", raising=False)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        cuda_devices._visible.cache_clear()

    yield made
    cuda_devices._visible.cache_clear()


@pytest.mark.parametrize(
    ("listing", "visible", "ids"),
    [
        (drivers.EIGHT_H100, None, list("01234567")),
        (drivers.EIGHT_H100, "", []),
        (drivers.EIGHT_H100, "-1", []),
        (drivers.EIGHT_H100, "3,5", ["3", "5"]),
        (drivers.EIGHT_H100, "5, 3", ["5", "3"]),
        (drivers.EIGHT_H100, "0,9,1", ["0"]),  # up to the first that is not there
        (drivers.EIGHT_H100, "2,2", ["2"]),
        (drivers.EIGHT_H100, "GPU-3f2e1a00-1111-2222-3333-444455556663,0", ["3", "0"]),
        (drivers.EIGHT_H100, "GPU-3f2e", ["3"]),
        (drivers.EIGHT_H100, "GPU-", []),  # which of the eight?
        (drivers.CUT_A100, None, ["MIG-11110000-1111-5222-9333-444455556666"]),
        (drivers.CUT_A100, "1", ["1"]),
        (drivers.CUT_A100, "MIG-2222", ["MIG-22220000-1111-5222-9333-444455556666"]),
        (drivers.CUT_A100, "MIG-2222,MIG-1111", ["MIG-22220000-1111-5222-9333-444455556666"]),
        ("", None, []),
    ],
)
def test_devices_are_those_that_cuda_would_show(listing, visible, ids, host):
    host(listing, visible)
    assert ids == [device.id for device in cuda_devices.visible_devices()]
    assert len(ids) == device_count()
    assert ("cuda" if ids else "cpu") == accelerator()


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (drivers.MISMATCH, 18, "Driver/library version mismatch"),
        (drivers.NO_DRIVER, 9, "couldn't communicate with the NVIDIA driver"),
        ("", 255, "exit code 255"),
    ],
)
def test_a_driver_that_fails_is_no_study_on_the_cpu(text, code, words, host):
    host(text, code=code)
    with pytest.raises(EnvironmentUnfit, match=r"type hardware=cpu to train on the CPU") as error:
        accelerator()
    assert words in str(error.value)


def test_a_machine_with_a_driver_and_no_device_is_a_cpu(host):
    host("No devices were found\n", code=6)
    assert "cpu" == accelerator()


def test_a_driver_that_wakes_its_devices_is_waited_for_and_one_that_hangs_is_not(host, monkeypatch):
    assert nvidia_smi.TIMEOUT_SECONDS >= 60  # eight devices, 3 s each, and a margin
    monkeypatch.setattr(nvidia_smi, "TIMEOUT_SECONDS", 0.5)
    host(drivers.EIGHT_H100, seconds=5)
    with pytest.raises(EnvironmentUnfit, match=r"does not answer within 0\.5 s"):
        device_count()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/dev/nvidia0", "no nvidia-smi on PATH"),
        ("/dev/dxg", "/usr/lib/wsl/lib"),
        ("/dev/kfd", "an AMD device (ROCm)"),
        ("/dev/davinci0", "an Ascend NPU"),
    ],
)
def test_a_device_that_nvidia_smi_does_not_list_is_said(path, words, monkeypatch):
    monkeypatch.delenv("DS_ACCELERATOR", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(nvidia_smi.Path, "exists", lambda self: str(self) == path)
    cuda_devices._visible.cache_clear()
    with pytest.raises(EnvironmentUnfit) as error:
        accelerator()
    assert words in str(error.value)
    assert "type hardware=cpu" in str(error.value)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "cpu" == accelerator()


def test_memory_is_told_of_the_device_that_it_is_of(host):
    """Rows out of order, and one that is not told: none is taken for another."""
    host(drivers.EIGHT_H100, "0,3,5", gpu="5, 500\n3, [N/A]\n0, 100\n")
    assert {"0": 100 * 2**20, "5": 500 * 2**20} == device_memory_used(["0", "3", "5"])


def spec(**changes):
    changes = {"hardware.accelerator": "cuda", "precision.mode": "bf16", **changes}
    machine = replace(MACHINE, devices=8, device_memory_bytes=80 * 2**30, bf16=True)
    return plan(nano(**changes), machine).ready


def test_devices_named_by_uuid_are_numbers_to_the_launcher(host):
    host(drivers.EIGHT_H100, "GPU-6f2e,GPU-2f2e")
    two = spec(**{"hardware.ranks": 2})
    assert "--include=localhost:6,2" in deepspeed_command(two, 1)
    assert _slots(deepspeed_command(two, 1)) == [6, 2]


def _slots(command):
    from deepspeed.launcher.runner import parse_node_config

    (include,) = (a for a in command if a.startswith("--include="))
    return parse_node_config(include.removeprefix("--include="))[1]


def test_a_part_of_a_device_is_trained_on_under_torchrun(host):
    host(drivers.CUT_A100, "MIG-2222")
    one = spec()
    assert launcher_command(one) is torchrun_command
    assert ["MIG-22220000-1111-5222-9333-444455556666"] == device_ids(1)
    with pytest.raises(EnvironmentUnfit, match="type launch=warm, or launch=torchrun"):
        deepspeed_command(one, 1)
