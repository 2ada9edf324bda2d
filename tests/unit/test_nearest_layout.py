"""Where a layout is not allowed: what is, with the change of one setting or two."""

from sweeper.core.machine import Machine
from sweeper.core.nearest_layout import nearest_layouts
from sweeper.core.plan import plan, refusals
from sweeper.core.settings import with_values
from tests.support import nano

GPUS = Machine(cores=2, host_memory_bytes=2**40, devices=64)


def against(settings):
    return len(list(refusals(plan(settings, GPUS).settings, GPUS)))


def nearest(**changes):
    settings = nano(**{"hardware.accelerator": "cuda", "workload.global_batch_size": 64, **changes})
    assert against(settings)
    found = nearest_layouts(settings, against)
    for changes in found:
        changed = settings
        for change in changes:
            changed = with_values(changed, change.values)
        assert not against(changed)
    return [" ".join(change.typed for change in changes) for changes in found]


def test_ranks_that_do_not_divide_the_batch_get_another_batch_or_other_ranks():
    assert ["workload.global_batch_size=63", "hardware.ranks=8"] == nearest(**{"hardware.ranks": 7})


def test_a_micro_batch_that_does_not_divide_the_batch_is_changed_first():
    assert "batch.micro_size=4" == nearest(**{"batch.micro_size": 3, "hardware.ranks": 2})[0]


def test_heads_that_a_degree_does_not_divide_are_shared_in_another_way():
    odd = {"model.heads": 25, "model.layers": 4, "parallel.tensor": 2, "hardware.ranks": 4}
    assert ["parallel=pipeline2"] == nearest(**odd)


def test_what_another_stage_allows_comes_with_the_next_one():
    assert ["zero=stage1"] == nearest(**{"offload.optimizer": "cpu"})
    piped = {"parallel.pipeline": 2, "zero.stage": 2, "hardware.ranks": 2}
    assert "zero=stage1" == nearest(**piped)[0]


def test_where_no_change_is_enough_alone_two_are_told():
    assert [
        "zero=stage1 workload.global_batch_size=63",
        "zero=stage1 hardware.ranks=2",
    ] == nearest(**{"offload.optimizer": "cpu", "hardware.ranks": 3})
    odd = {"model.heads": 25, "model.layers": 4, "parallel.tensor": 2, "hardware.ranks": 6}
    assert [
        "parallel=pipeline2 workload.global_batch_size=63",
        "parallel=pipeline2 hardware.ranks=4",
    ] == nearest(**odd)


def test_where_none_of_them_is_the_reason_nothing_is_said():
    assert [] == nearest(**{"workload.sequence_length": 4096})
    assert [] == nearest(**{"workload.sequence_length": 4096, "hardware.ranks": 7})
