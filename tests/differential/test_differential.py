"""Our rules against DeepSpeed itself."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from sweeper.core.machine import Machine
from sweeper.run.ops import ensure_ops
from sweeper.run.runners import runner
from tests.differential.combinations import combinations, judge
from tests.support import ROOT

pytestmark = [pytest.mark.real, pytest.mark.timeout(3600)]

SEED = 11
SAMPLED, ALL = 16, 300
PUBLISHED = ROOT / "results" / "published" / "differential.json"
OPS = ("ShareMemCommBuilder", "CPUAdamBuilder", "CPULionBuilder", "FusedAdamBuilder")
MACHINE = Machine(cores=2, host_memory_bytes=20 * 2**30, libaio=False)


@pytest.fixture(scope="module")
def machine():
    from sweeper.run.machine import thorough_look

    ensure_ops(OPS, accelerator="cpu", say=print)
    return thorough_look("cpu")[0]


def judgements(number, machine, folder):
    with ThreadPoolExecutor(2) as pool:
        asked = [
            pool.submit(judge, combination, machine, folder / f"{index:03d}")
            for index, combination in enumerate(combinations(number, seed=SEED))
        ]
        return [each.result() for each in asked]


def test_deepspeed_agrees_with_our_rules_on_a_sample(machine, tmp_path):
    judged = judgements(SAMPLED, machine, tmp_path)
    assert [] == [each for each in judged if not each.agrees]
    kinds = Counter(each.rules_say for each in judged)
    assert kinds["legal"] + kinds["ignored"] >= 7  # both train; the latter twice
    assert kinds["ignored"] >= 3
    assert kinds["forbidden"] >= 3


@pytest.mark.slow
def test_deepspeed_agrees_with_our_rules_on_all(machine, tmp_path):
    judged = judgements(ALL, machine, tmp_path)
    kinds = Counter(each.rules_say for each in judged)
    document = {
        "schema_version": 1,
        "seed": SEED,
        "count": dict(kinds),
        "disagreements": sum(not each.agrees for each in judged),
        "judgements": [each.to_json() for each in judged],
    }
    PUBLISHED.write_text(json.dumps(document, indent=1) + "\n")
    assert [] == [each for each in judged if not each.agrees]


@pytest.mark.slow
def test_a_compiled_model_trains_the_same(tmp_path):
    from sweeper.core.folder import TrialFolder
    from sweeper.core.outcome import Measured, reason_of
    from sweeper.core.plan import plan
    from tests.support import nano

    losses = []
    for mode in ("none", "engine"):
        changes = {"compile.mode": mode, "zero.stage": 2, "launch.timeout_seconds": 1500.0}
        changes |= {"launch.hang_seconds": 1200.0}
        spec = plan(nano(**changes), MACHINE).ready
        outcome = runner("warm").run(spec, TrialFolder(tmp_path / mode))
        assert isinstance(outcome, Measured), reason_of(outcome)
        losses.append(outcome.measurement.losses)
    assert pytest.approx(losses[0], rel=1e-4) == losses[1]
