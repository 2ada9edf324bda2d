"""How likely there is enough memory, in the words that everything uses."""

import pytest

from sweeper.core.memory.calibration import MemoryEstimate
from sweeper.core.memory.demand import Demand, level, on_the_host, worst_level
from tests.unit.test_memory_model import on_gpu

GIB = 2**30
ESTIMATE = MemoryEstimate(mean_bytes=10 * GIB, deviation_bytes=GIB)


@pytest.mark.parametrize(
    ("limit_gib", "expected"),
    [
        (20, "surely fits"),
        (10.1, "probably fits"),
        (9.9, "probably does not fit"),
        (5, "does not fit"),
    ],
)
def test_each_level_has_its_words(limit_gib, expected):
    assert expected == level(ESTIMATE, limit_gib * GIB)


def test_what_has_no_margin_left_does_not_surely_fit():
    narrow = MemoryEstimate(mean_bytes=10 * GIB, deviation_bytes=0.001 * GIB)
    assert narrow.probability_below(10.1 * GIB) > 0.99
    assert "probably fits" == level(narrow, 10.1 * GIB)


def test_the_worst_of_several_demands_is_told():
    demands = [
        Demand(who="a rank", estimate=ESTIMATE, limit_bytes=20 * GIB),
        Demand(who="the host", estimate=ESTIMATE, limit_bytes=9 * GIB),
    ]
    assert "probably does not fit" == worst_level(demands)


def test_a_host_has_to_do_for_the_ranks_of_its_node():
    need = on_gpu(**{"zero.stage": 2, "offload.optimizer": "cpu"})
    demand = on_the_host(need, ranks=8, host_memory_bytes=GIB)
    assert 8 * need.host_bytes == demand.estimate.mean_bytes
    assert "does not fit" == demand.level
