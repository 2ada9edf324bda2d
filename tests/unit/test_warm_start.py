import math
from dataclasses import replace

import pytest

from sweeper.core.evidence import best_points, evidence_of, expected_gains
from sweeper.core.files import write_json
from sweeper.core.folder import StudyFolder
from sweeper.core.foresight import Foresight
from sweeper.core.objective import THROUGHPUT, Objective
from sweeper.core.outcome import OutOfMemory
from sweeper.core.plan import plan
from sweeper.errors import UsageError
from sweeper.hydra_edge.warm_start import earlier_trials, what_is_learned
from tests.support import MACHINE, measured, nano, trial_of
from tests.unit.test_memory_model import PROFILE

BASE, FAST, SMALL = {"zero": "stage0"}, {"zero": "stage1"}, {"zero": "stage2"}
TOO_LARGE = OutOfMemory(memory="host", phase="warm-up", reason="x")
HERE = {"device": "a CPU", "torch": "2.13.0", "deepspeed": "0.19.8"}  # as trial_of has it
MEMORY = Objective(kind="memory", target_tokens=1e9)


def gains(earlier, ours, objective=THROUGHPUT):
    """By point, over the baseline's."""
    baseline = trial_of(0, ours, point=BASE)
    objective = objective.beside(baseline)
    return {
        tuple(e.point.values()): e.score - objective.score(ours.measurement)
        for e in expected_gains(earlier, baseline, objective)
    }


def test_what_counts_is_the_gain_over_the_baseline_there():
    earlier = [
        trial_of(0, measured(1000.0), point=BASE),
        trial_of(1, measured(3000.0), point=FAST),
    ]
    found = gains(earlier, measured(100.0))
    assert {("stage0",): 0.0, ("stage1",): math.log(3)} == pytest.approx(found)


def test_without_both_baselines_there_is_no_scale_and_nothing_is_expected():
    failed = [trial_of(0, TOO_LARGE, point=BASE), trial_of(1, measured(90000.0), point=FAST)]
    assert {} == gains(failed, measured(100.0))
    earlier = [replace(t, outcome=measured(90000.0)) for t in failed]
    ours = trial_of(0, TOO_LARGE, point=BASE)
    assert [] == list(expected_gains(earlier, ours, THROUGHPUT))


def test_a_baseline_that_was_another_one_there_is_not_taken_for_ours():
    other_baseline = trial_of(0, measured(2000.0), point=FAST)
    same_as_ours = trial_of(1, measured(1000.0), point=BASE)
    assert {} == gains([other_baseline], measured(100.0))
    found = gains([other_baseline, same_as_ours], measured(100.0))
    assert math.log(2) == pytest.approx(found[("stage1",)])


def test_a_floor_is_as_far_from_their_baseline_as_it_is_from_ours():
    """Ours gives 100 tokens/s, theirs ten times as many: 900 are a tenth too few there."""
    earlier = [
        trial_of(0, measured(1000.0, peak_bytes=8 * 2**30), point=BASE),
        trial_of(1, measured(900.0, peak_bytes=4 * 2**30), point=FAST),
        trial_of(2, measured(1100.0, peak_bytes=4 * 2**30), point=SMALL),
    ]
    found = gains(earlier, measured(100.0, peak_bytes=2**30), MEMORY)
    assert math.log(2) == pytest.approx(found[("stage2",)])
    assert found[("stage1",)] < found[("stage2",)] - 0.4


def test_the_best_points_are_those_of_the_objective_and_of_a_front_all():
    earlier = [
        trial_of(0, measured(1000.0, peak_bytes=8 * 2**30), point=BASE),
        trial_of(1, measured(2000.0, peak_bytes=9 * 2**30), point=FAST),
        trial_of(2, measured(1100.0, peak_bytes=4 * 2**30), point=SMALL),
    ]
    assert FAST == best_points(earlier, THROUGHPUT)[0]
    assert SMALL == best_points(earlier, MEMORY)[0]
    pareto = Objective(kind="pareto", target_tokens=1e9)
    assert [FAST, SMALL] == best_points(earlier, pareto)
    assert [] == best_points([], pareto)


def test_peaks_are_taken_of_the_same_model_on_the_same_machine_alone():
    earlier = [trial_of(0, measured(), point=BASE), trial_of(1, TOO_LARGE, point=FAST)]
    same = evidence_of(earlier, nano(), HERE)
    assert tuple(earlier) == same.peaks
    assert [FAST] == same.too_large
    longer = evidence_of(earlier, nano(**{"workload.sequence_length": 64}), HERE)
    assert tuple(earlier) == longer.peaks  # through what the memory model makes of each
    assert [] == longer.too_large
    for other in (
        evidence_of(earlier, nano(**{"model.width": 128}), HERE),
        evidence_of(earlier, nano(), {**HERE, "device": "another"}),
    ):
        assert () == other.peaks
        assert [] == other.too_large
        assert tuple(earlier) == other.trials


def test_a_trial_that_failed_before_it_could_say_where_it_ran_counts_with_its_study():
    earlier = [
        replace(trial_of(0, TOO_LARGE, point=BASE), environment={}),
        trial_of(1, measured(), point=FAST),
    ]
    assert [BASE] == evidence_of(earlier, nano(), HERE).too_large


def test_earlier_peaks_correct_the_memory_model_before_the_first_trial():
    cold, warm = (Foresight(lambda settings: PROFILE, MACHINE) for _ in range(2))
    planned = plan(nano(), MACHINE)
    half = int(cold.estimate(planned).mean_bytes / 2)
    evidence = evidence_of([trial_of(0, measured(peak_bytes=half))], nano(), HERE)
    for trial in evidence.peaks:
        warm.learn(trial)
    assert warm.estimate(planned).mean_bytes < 0.8 * cold.estimate(planned).mean_bytes


def earlier_study(folder, **changes):
    trial = trial_of(0, measured(), point=BASE, **changes)
    write_json(StudyFolder(folder).trial(0).trial, trial.to_json())
    return {"warm_start": str(folder)}


def of_hugging_face(config):
    return {
        "model": {
            "name": f"hf-{config}",
            "_target_": "sweeper.models.hf.build",
            "config": config,
        }
    }


def hugging_face(config):
    settings = nano()
    return replace(settings, model=of_hugging_face(config)["model"])


def study_of(folder, settings):
    trial = replace(trial_of(0, measured(), point=BASE), settings=settings.flat())
    write_json(StudyFolder(folder).trial(0).trial, trial.to_json())
    return {"warm_start": str(folder)}


def test_a_study_of_the_same_family_in_another_size_is_read(tmp_path):
    options = earlier_study(tmp_path)
    (trial,) = earlier_trials(options, nano(**{"model.width": 128, "model.name": "larger"}))
    assert BASE == trial.point
    assert () == earlier_trials({"warm_start": None}, nano())


def test_a_hugging_face_architecture_is_a_family_of_its_own(tmp_path):
    options = study_of(tmp_path, hugging_face("bert-base"))
    assert earlier_trials(options, hugging_face("bert-base"))
    with pytest.raises(UsageError) as error:
        earlier_trials(options, hugging_face("llama-3.2-1b"))
    assert "model_type bert, which says little of" in str(error.value)
    assert "model_type llama" in str(error.value)
    assert "type hydra.sweeper.warm_start=null" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (None, "there is no trial in this folder"),
        ({"_target_": "elsewhere.build"}, "a study of elsewhere.build, which says little of"),
    ],
)
def test_what_cannot_be_learned_from_is_one_line(tmp_path, made, said):
    (tmp_path / "notes.txt").write_text("no study")
    options = {"warm_start": str(tmp_path)}
    if made is not None:
        options = study_of(tmp_path, replace(nano(), model=made))
    with pytest.raises(UsageError, match=said) as error:
        earlier_trials(options, nano())
    assert "\n" not in str(error.value)
    assert "type hydra.sweeper.warm_start=" in str(error.value)


def test_settings_of_another_version_are_one_line(tmp_path):
    trial = trial_of(0, measured(), point=BASE)
    lacking = {n: v for n, v in trial.settings.items() if n != "zero.stage"}
    write_json(StudyFolder(tmp_path).trial(0).trial, replace(trial, settings=lacking).to_json())
    with pytest.raises(UsageError, match="this version has other settings") as error:
        earlier_trials({"warm_start": str(tmp_path)}, nano())
    assert "zero.stage" in str(error.value)


def test_what_is_learned_is_said_and_what_is_outside_the_space_too():
    trials = [
        trial_of(0, measured(), point=BASE),
        trial_of(1, TOO_LARGE, point=FAST),
        trial_of(2, measured(), point={"other": "1"}),
    ]
    assert (
        "learning from 2 trials of results/x, 1 of them measured; 1 more are no candidates of this space"
        == what_is_learned("results/x", trials, lambda point: "zero" in point)
    )
