"""What one rank may use: the least of what was set and what there is."""

import pytest

from sweeper.core.machine import Machine
from sweeper.core.memory_limit import DEVICE, HOST, enforced_bytes, memory_limit
from tests.support import MACHINE, nano

GIB = 2**30
GPU = Machine(cores=2, host_memory_bytes=64 * GIB, devices=8, device_memory_bytes=24 * GIB)


def found(machine, **changes):
    limit = memory_limit(nano(**{f"hardware.{name}": v for name, v in changes.items()}), machine)
    return limit.bytes / GIB, limit.set_by


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (24, DEVICE)),
        ({"memory_limit": "48GiB"}, (24, DEVICE)),
        ({"memory_limit": "8GiB"}, (8, "hardware.memory_limit")),
        ({"device_memory": "16GiB", "memory_limit": "48GiB"}, (16, "hardware.device_memory")),
        ({"device_memory": "80GiB"}, (24, DEVICE)),
    ],
)
def test_a_device_gives_no_more_than_it_has(given, expected):
    assert expected == found(GPU, accelerator="cuda", **given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (8, HOST)),
        ({"memory_limit": "1TiB"}, (8, HOST)),
        ({"memory_limit": "3GiB"}, (3, "hardware.memory_limit")),
        ({"host_memory": "8GiB"}, (4, "hardware.host_memory")),
        ({"host_memory": "1TiB"}, (8, HOST)),
    ],
)
def test_ranks_on_the_cpu_share_what_the_host_has(given, expected):
    assert expected == found(MACHINE, ranks=2, **given)


def test_nothing_is_known_of_a_device_that_nobody_described():
    unknown = Machine(cores=2, host_memory_bytes=GIB)
    assert None is memory_limit(nano(**{"hardware.accelerator": "cuda"}), unknown)


def test_a_device_that_nothing_limits_is_left_to_itself():
    on_gpu = {"hardware.accelerator": "cuda"}
    assert 0 == enforced_bytes(nano(**on_gpu), GPU)
    assert 8 * GIB == enforced_bytes(nano(**on_gpu, **{"hardware.memory_limit": "8GiB"}), GPU)
    assert 0 == enforced_bytes(nano(**on_gpu, **{"hardware.memory_limit": "48GiB"}), GPU)
