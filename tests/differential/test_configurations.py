"""Configurations as users write them: what we make of each is what DeepSpeed's engine is."""

import json

import pytest

from tests.differential.configurations import configurations, judge
from tests.support import ROOT

pytestmark = [pytest.mark.real, pytest.mark.timeout(3600)]

SEED = 7
SAMPLED, ALL = 12, 200
PUBLISHED = ROOT / "results" / "published" / "differential-configurations.json"


def test_a_sample_of_configurations_is_what_its_labels_say(tmp_path):
    judged = judge(configurations(SAMPLED, seed=SEED), tmp_path, seed=SEED)
    assert [] == [each for each in judged if each.disagreements]
    assert 0.8 * SAMPLED <= len([each for each in judged if each.candidate])


@pytest.mark.slow
def test_all_configurations_are_what_their_labels_say(tmp_path):
    judged = judge(configurations(ALL, seed=SEED), tmp_path, seed=SEED)
    taken = [each for each in judged if not each.refused]
    document = {
        "schema_version": 1,
        "seed": SEED,
        "configurations": len(judged),
        "refused_by_deepspeed": len(judged) - len(taken),
        "candidates": len([each for each in judged if each.candidate]),
        "disagreements": sum(bool(each.disagreements) for each in judged),
        "judgements": [each.to_json() for each in judged],
    }
    PUBLISHED.write_text(json.dumps(document, indent=1) + "\n")
    assert [] == [each for each in judged if each.disagreements]
    assert len(taken) >= 150
