"""What is known of a model's memory from the sizes of its parameters alone."""

import pytest

from sweeper.core.memory.least import least_bytes
from tests.support import nano

ALL, TRAINED = ((1_000_000, 8),), ((1000, 8),)


def least(sizes, trained_sizes, **changes):
    return least_bytes(nano(**changes), sizes, trained_sizes)


def test_weights_and_two_states_of_each_in_single_precision():
    assert {"host": 8_000_000 * (4 + 8)} == least(ALL, ALL)


def test_frozen_weights_have_no_states():
    assert {"host": 8_000_000 * 4 + 8000 * 8} == least(ALL, TRAINED)


def test_stage_3_divides_both_by_the_ranks():
    changes = {"zero.stage": 3, "precision.mode": "bf16", "hardware.accelerator": "cuda"}
    one = least(ALL, ALL, **changes, **{"zero.stage3_param_persistence_threshold": 0})
    four = least(
        ALL, ALL, **changes, **{"zero.stage3_param_persistence_threshold": 0, "hardware.ranks": 4}
    )
    assert ["device"] == list(one) == list(four)
    assert pytest.approx(one["device"] / 4) == four["device"]


def test_what_is_offloaded_is_on_the_host():
    changes = {"zero.stage": 2, "precision.mode": "bf16", "hardware.accelerator": "cuda"}
    here, there = (
        least(ALL, ALL, **changes),
        least(ALL, ALL, **changes, **{"offload.optimizer": "cpu"}),
    )
    assert {"device"} == set(here)
    assert {"device", "host"} == set(there)
    assert there["device"] < here["device"]


def test_nothing_is_said_of_a_model_that_is_cut_by_its_layers_or_was_not_built():
    assert {} == least(ALL, ALL, **{"parallel.tensor": 2, "hardware.ranks": 2})
    assert {} == least((), ())
