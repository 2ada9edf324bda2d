"""Where a layout is not allowed: what is, with the change of one setting."""

from sweeper.core.machine import Machine
from sweeper.core.nearest_layout import nearest_layouts
from sweeper.core.plan import plan
from sweeper.core.settings import with_values
from sweeper.core.spec import TrialSpec
from tests.support import nano

GPUS = Machine(cores=2, host_memory_bytes=2**40, devices=64)


def allowed(settings):
    return isinstance(plan(settings, GPUS).ready, TrialSpec)


def nearest(**changes):
    settings = nano(**{"hardware.accelerator": "cuda", "workload.global_batch_size": 64, **changes})
    assert not allowed(settings)
    found = nearest_layouts(settings, allowed)
    assert all(allowed(with_values(settings, change.values)) for change in found)
    return [change.typed for change in found]


def test_ranks_that_do_not_divide_the_batch_get_another_batch_or_other_ranks():
    assert ["workload.global_batch_size=63", "hardware.ranks=8"] == nearest(**{"hardware.ranks": 7})


def test_a_micro_batch_that_does_not_divide_the_batch_is_changed_first():
    assert "batch.micro_size=4" == nearest(**{"batch.micro_size": 3, "hardware.ranks": 2})[0]


def test_heads_that_a_degree_does_not_divide_are_shared_in_another_way():
    odd = {"model.heads": 25, "model.layers": 4, "parallel.tensor": 2, "hardware.ranks": 4}
    assert ["parallel=pipeline2"] == nearest(**odd)


def test_where_the_layout_is_not_the_reason_nothing_is_said():
    assert [] == nearest(**{"offload.optimizer": "cpu"})
    assert [] == nearest(**{"workload.sequence_length": 4096})
