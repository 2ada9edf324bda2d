"""An engine that is held against the label of its trial."""

import pytest

from sweeper.core.engine_check import contradictions, expected_of, optimizer_family
from sweeper.core.plan import plan
from tests.support import MACHINE, nano

CHANGES = {"zero.stage": 2, "offload.optimizer": "cpu", "precision.mode": "bf16"}


def expected(**changes):
    return expected_of(plan(nano(**{**CHANGES, **changes}), MACHINE).ready)


def test_an_engine_as_the_label_says_is_let_through():
    assert [] == contradictions(expected(), {**expected(), "optimizer": "adam"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("zero.stage", 1),
        ("offload.optimizer", "none"),
        ("precision.mode", "fp32"),
        ("batch.micro_size", 7),
        ("accumulation steps", 7),
        ("data-parallel ranks", 7),
    ],
)
def test_a_contradiction_names_both_sides(name, value):
    label = expected()
    (found,) = contradictions(label, {**label, name: value})
    assert f"{name} is {label[name]} by its label and {value} at the engine" == found


def test_what_was_not_seen_contradicts_nothing():
    assert [] == contradictions(expected(), {})
    assert [] == contradictions(expected(), {"precision.mode": None})


@pytest.mark.parametrize(
    ("names", "family"),
    [
        (("Adam", "AdamW", "FusedAdam", "DeepSpeedCPUAdam", "ZenFlowCPUAdam"), "adam"),
        (("Lion", "FusedLion", "DeepSpeedCPULion"), "lion"),
        (("Muon", "MuonWithAuxAdam"), "muon"),
        (("SGD", "sgd"), "sgd"),
    ],
)
def test_optimizers_of_a_family_are_the_same_training(names, family):
    assert {family} == {optimizer_family(name) for name in names}
