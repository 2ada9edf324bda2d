import pandas as pd
import pytest

from sweeper.core.folder import StudyFolder, write_json
from sweeper.core.outcome import Crashed, Infeasible, OutOfMemory
from sweeper.errors import UsageError
from sweeper.report.build import build_report
from sweeper.report.figures import pareto_front
from sweeper.report.markdown import verdict
from tests.support import measured, trial_of

TRIALS = [
    trial_of(0, measured(100.0, spread=0.02)),
    trial_of(1, measured(250.0, peak_bytes=2 * 2**30), **{"zero.stage": 2, "batch.micro_size": 4}),
    trial_of(2, OutOfMemory(memory="host", phase="build", reason="a | b"), **{"zero.stage": 3}),
    trial_of(3, Infeasible(rule="r", reason="not a multiple"), **{"batch.micro_size": 3}),
    trial_of(4, measured(180.0), **{"zero.stage": 1, "checkpointing.every_nth_block": 1}),
]


def study_of(tmp_path, trials):
    folder = StudyFolder(tmp_path / "study")
    for trial in trials:
        write_json(folder.trial(trial.number).trial, trial.to_json())
        write_json(folder.trial(trial.number).ds_config, {"trial": trial.number})
    return folder


def test_the_report_names_the_winner_its_gain_and_where_the_files_are(tmp_path):
    folder = study_of(tmp_path, TRIALS)
    said = build_report(folder, stop_reason="5 trials were run")
    assert "trial 1 is the fastest: 250 tokens/s" in said
    assert "2.50 (±" in said
    assert str(folder.best_ds_config) in said
    text = folder.report.read_text()
    assert "5 trials were run" in text
    assert "| `zero.stage` | 0 | 2 |" in text


def test_csv_and_report_have_one_row_for_each_trial_and_agree(tmp_path):
    folder = study_of(tmp_path, TRIALS)
    build_report(folder)
    table = pd.read_csv(folder.trials_csv).set_index("trial")
    assert [0, 1, 2, 3, 4] == list(table.index)
    assert pytest.approx(250.0) == table.loc[1, "tokens_per_second_median"]
    assert 2 * 2**30 == table.loc[1, "peak_host_resident_bytes"]
    assert "out-of-memory" == table.loc[2, "outcome"]
    assert "a | b" == table.loc[2, "reason"]
    assert pd.isna(table.loc[2, "tokens_per_second_median"])
    assert "| 1 | 1 | 250 ± 2.5 |" in folder.report.read_text()


def test_the_best_config_is_the_winners(tmp_path):
    folder = study_of(tmp_path, TRIALS)
    build_report(folder)
    assert folder.trial(1).ds_config.read_text() == folder.best_ds_config.read_text()


def test_what_failed_is_grouped_by_reason_and_linked(tmp_path):
    folder = study_of(tmp_path, TRIALS)
    build_report(folder)
    text = folder.report.read_text()
    assert "| infeasible | not a multiple | [3](trials/0003/) |" in text
    assert "a \\| b" in text  # a reason cannot break the table


def test_every_figure_that_the_report_shows_is_there(tmp_path):
    folder = study_of(tmp_path, TRIALS)
    build_report(folder)
    for name in ("throughput_memory", "throughput_stage_micro_batch", "best_so_far"):
        assert f"figures/{name}.png" in folder.report.read_text()
        assert (folder.figures / f"{name}.png").stat().st_size > 5000


def test_a_study_in_which_nothing_was_measured_has_a_report_and_no_bundle(tmp_path):
    folder = study_of(tmp_path, TRIALS)
    build_report(folder)
    folder = study_of(
        tmp_path, [trial_of(n, Crashed(reason="x", evidence="", exit_code=1)) for n in range(5)]
    )
    assert "none of 5 trials was measured" in build_report(folder)
    assert not folder.best.exists()


def test_a_folder_without_a_trial_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="nothing to report"):
        build_report(study_of(tmp_path, []))


def test_a_gain_within_the_noise_is_called_that():
    close = [trial_of(0, measured(100.0, spread=0.1)), trial_of(1, measured(103.0, spread=0.1))]
    assert "within the noise" in verdict(close)
    assert "within the noise" not in verdict(TRIALS)


def test_a_baseline_that_wins_is_called_the_fastest():
    trials = [trial_of(0, measured(300.0)), *TRIALS[1:]]
    assert "your own options (trial 0) were the fastest of 3 measured" in verdict(trials)


def test_a_baseline_that_was_not_measured_gives_no_gain():
    trials = [trial_of(0, Infeasible(rule="r", reason="no")), *TRIALS[1:]]
    assert "the baseline (trial 0) is infeasible" in verdict(trials)


def test_checkpointing_is_named_as_what_the_json_does_not_carry(tmp_path):
    folder = study_of(tmp_path, [trial_of(0, measured(), **{"checkpointing.every_nth_block": 1})])
    build_report(folder)
    assert "does not carry activation checkpointing" in folder.report.read_text()
    assert "activation checkpointing" in (folder.best / "README.md").read_text()


def test_the_pareto_front_holds_what_nothing_beats_in_both():
    points = [(1.0, 10.0), (2.0, 20.0), (2.0, 15.0), (3.0, 5.0), (4.0, 30.0)]
    assert [(1.0, 10.0), (2.0, 20.0), (4.0, 30.0)] == pareto_front(points)
