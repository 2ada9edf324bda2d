from sweeper.core.rule_reads import forbidding, looked_at
from sweeper.core.rules import FORBIDDEN
from tests.support import nano

RULES = {rule.id: rule for rule in FORBIDDEN}


def test_what_a_rule_looks_at_is_noted_under_the_names_that_are_typed():
    forbidden, read = looked_at(
        RULES["sequence-fits-the-model"], nano(**{"workload.sequence_length": 1000})
    )
    assert forbidden
    assert {"workload.sequence_length", "model"} == read


def test_what_is_worked_out_of_settings_is_those_settings():
    _, read = looked_at(RULES["degrees-fill-the-ranks"], nano())
    assert {"hardware.ranks", "parallel.tensor", "parallel.pipeline", "parallel.sequence"} == read


def test_every_rule_can_be_watched_and_says_the_same():
    for settings in (
        nano(),
        nano(**{"zero.stage": 3, "parallel.pipeline": 2, "hardware.ranks": 2}),
        nano(**{"offload.optimizer": "nvme", "zero.stage": 1, "precision.mode": "fp16"}),
    ):
        for rule in FORBIDDEN:
            assert bool(rule.applies(settings)) == looked_at(rule, settings)[0], rule.id


def test_settings_that_are_allowed_are_forbidden_by_no_rule():
    assert forbidding(nano()) is None


def test_a_rule_about_what_deepspeed_may_not_look_at_decides_nothing_by_itself():
    assert forbidding(nano(**{"offload.params": "cpu", "zero.quantized_weights": True})) is None
