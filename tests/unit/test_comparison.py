import math
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from sweeper.core.contest_record import write_contest
from sweeper.core.files import write_json, write_text
from sweeper.core.finalists import Contest, judge
from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import Crashed, OutOfMemory, Stopped
from sweeper.core.ratios import ratio_of_separate
from sweeper.errors import NothingMeasured, UsageError
from sweeper.report.compared_study import compared_studies
from sweeper.report.comparison import compare
from sweeper.report.comparison_page import compare_studies
from tests.support import measured, trial_of

CANDIDATES = ({}, {"zero.stage": 1}, {"zero.stage": 2, "batch.micro_size": 4})
RATES = (100.0, 150.0, 250.0)
NEWER = {"device": "a CPU", "torch": "2.14.0", "deepspeed": "0.19.8"}


def trials_of(rates=RATES, *, environment=None, **fixed):
    trials = [
        trial_of(n, measured(rate), **(CANDIDATES[n] | fixed)) for n, rate in enumerate(rates)
    ]
    return [t if environment is None else replace(t, environment=environment) for t in trials]


def study(folder, trials, document=None):
    for trial in trials:
        write_json(StudyFolder(folder).trial(trial.number).trial, trial.to_json())
    if document is not None:
        write_text(StudyFolder(folder).study, yaml.safe_dump(document))
    return str(folder)


def finals(folder, trials, rates):
    """Three rounds of these tokens/s by trial number, two percent apart."""
    folder = StudyFolder(Path(folder))
    contest = Contest(finalists=tuple(rates), baseline=None)
    rounds = [{n: measured(rate * (1 + k / 50)) for n, rate in rates.items()} for k in range(3)]
    for number, found in enumerate(rounds, start=1):
        for n, outcome in found.items():
            again = replace(trials[n], outcome=outcome)
            write_json(folder.finalists.trial(number, n).trial, again.to_json())
    write_contest(folder.finalists, contest, judge(contest, rounds))


@pytest.fixture
def before_and_after(tmp_path):
    """Before and after an upgrade that makes everything a tenth faster."""
    before = study(tmp_path / "before", trials_of())
    after = study(tmp_path / "after", trials_of([1.1 * r for r in RATES], environment=NEWER))
    return before, after


def rows(text, start):
    """The cells of each line of a table that begins so."""
    lines = (line for line in text.splitlines() if line.startswith(f"| {start}"))
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_unequal_environments_are_said_first_and_are_not_ranked_together(before_and_after):
    text = compare_studies(before_and_after, output=None)
    first = text.split("## ")[1].splitlines()[2]
    assert "unequal environments, which differ in `torch`:" in first
    assert "not ranked together" in first
    assert "## Ranked together" not in text
    assert [["`torch`", "2.13.0", "2.14.0"]] == rows(text, "`torch`")


def test_equal_environments_are_ranked_together(tmp_path):
    one = study(tmp_path / "one", trials_of())
    other = study(tmp_path / "other", trials_of([90.0, 160.0, 240.0]))
    text = compare_studies([one, other], output=None)
    ranked = text.split("## Ranked together")[1]
    order = [(row[1], row[2]) for n in range(1, 7) for row in rows(ranked, f"{n} |")]
    assert [
        *(("one", "2"), ("other", "2"), ("other", "1")),
        *(("one", "1"), ("one", "0"), ("other", "0")),
    ] == order


def test_another_host_of_the_same_kind_is_told_and_ranked(tmp_path):
    here = {"device": "a CPU", "host": "here"}
    one = study(tmp_path / "one", trials_of(environment=here))
    other = study(tmp_path / "other", trials_of(environment=here | {"host": "there"}))
    text = compare_studies([one, other], output=None)
    assert "another host of the same kind" in text
    assert [["`host`", "here", "there"]] == rows(text, "`host`")
    assert "## Ranked together" in text


def test_studies_of_other_models_are_not_ranked_but_paired_by_the_rest(tmp_path):
    small = study(tmp_path / "small", trials_of())
    large = study(tmp_path / "large", trials_of([r / 2 for r in RATES], **{"model.layers": 4}))
    text = compare_studies([small, large], output=None)
    assert "do not train the same, they differ in `model.layers`:" in text
    assert "## Ranked together" not in text
    assert "3 of them measured in both: in the median the second reaches 0.50" in text
    assert "Both chose the same settings, but for what differs" in text


def test_a_long_list_of_differences_is_cut_at_the_top_and_whole_below(tmp_path):
    changes = {f"workload.{n}": v for n, v in (("seed", 2), ("sequence_length", 64))}
    changes |= {f"model.{n}": 256 for n in ("layers", "width", "max_positions", "vocab_size")}
    one = study(tmp_path / "one", trials_of())
    text = compare_studies([one, study(tmp_path / "other", trials_of(**changes))], output=None)
    assert "`model.max_positions` and 2 more: a token of one" in text
    assert [["`workload.seed`", "1", "2"]] == rows(text, "`workload.seed`")


def test_a_study_that_ran_in_two_environments_equals_no_other(tmp_path):
    trials = trials_of()
    mixed = [*trials[:2], replace(trials[2], environment=NEWER)]
    text = compare_studies(
        [study(tmp_path / "one", trials), study(tmp_path / "mixed", mixed)], output=None
    )
    assert [["`torch`", "2.13.0", "2.13.0 and 2.14.0"]] == rows(text, "`torch`")
    assert "## Ranked together" not in text


def test_the_same_candidates_are_paired_with_the_noise_of_their_steps(before_and_after):
    text = compare_studies(before_and_after, output=None)
    ((_, trials, slow, fast, times, _),) = rows(text, "`zero.stage=2`")
    assert ("2, 2", "250", "275") == (trials, slow, fast)
    assert "1.10 (± 0.02)" == times
    assert "in the median the second reaches 1.10 times" in text


def test_a_difference_within_the_noise_is_called_that(tmp_path):
    one = study(tmp_path / "one", trials_of())
    other = study(tmp_path / "other", trials_of([1.001 * r for r in RATES]))
    text = compare_studies([one, other], output=None)
    assert "1.00 (± 0.01), within the noise" in text
    assert "(each ran once); that is within the noise." in text


def test_finals_of_both_give_an_interval(before_and_after):
    finals(before_and_after[0], trials_of(), {2: 250.0, 1: 150.0})
    finals(before_and_after[1], trials_of(environment=NEWER), {2: 300.0, 1: 160.0})
    text = compare_studies(before_and_after, output=None)
    assert "reaches 1.20 (1.15 to 1.25) times the tokens/s" in text
    assert "(95 % interval of both finals)" in text


def test_finals_of_one_alone_are_not_set_against_a_search(before_and_after):
    finals(before_and_after[0], trials_of(), {2: 500.0, 1: 150.0})
    ((*_, slow, fast, times, _),) = rows(
        compare_studies(before_and_after, output=None), "`zero.stage=2`"
    )
    assert ("250", "275", "1.10 (± 0.02)") == (slow, fast, times)


def test_what_ended_otherwise_is_told_with_its_reason(tmp_path):
    trials = trials_of()
    out = OutOfMemory(memory="host", phase="build", reason="asked for | 3 GiB")
    other = [*trials[:1], replace(trials[1], outcome=out), trials[2]]
    text = compare_studies(
        [study(tmp_path / "one", trials), study(tmp_path / "other", other)], output=None
    )
    ((_, was, now),) = rows(text, "`zero.stage=1` |")
    assert "trial 1: 150 tokens/s" == was
    assert now.startswith("trial 1: out-of-memory, asked for \\| 3 GiB")


def test_a_stopped_trial_is_an_estimate(tmp_path):
    trials = trials_of()
    stopped = Stopped(measurement=measured(140.0).measurement, reason="clearly beaten")
    other = [trials[0], replace(trials[1], outcome=stopped), trials[2]]
    text = compare_studies(
        [study(tmp_path / "one", trials), study(tmp_path / "other", other)], output=None
    )
    assert "0.93 (± 0.01), an estimate" in text
    assert "a few steps: stopped early" in text


def test_what_was_searched_and_how_hard_is_told(tmp_path):
    document = {"space": {"zero": ["stage0", "stage1"]}, "sweeper": {"n_trials": 3}}
    more = {
        "space": {"zero": ["stage0", "stage1"], "batch.micro_size": ["1", "4"]},
        "sweeper": {"n_trials": 9, "study_name": "x"},
    }
    one = study(tmp_path / "one", trials_of(), document)
    other = study(tmp_path / "other", trials_of(), more)
    text = compare_studies([one, other], output=None)
    assert ["`batch.micro_size`", "not searched", "1, 4"] in rows(text, "`batch.micro_size`")
    assert [["`hydra.sweeper.n_trials`", "3", "9"]] == rows(text, "`hydra.sweeper.n_trials`")
    assert "study_name" not in text


def test_three_studies_stand_side_by_side_and_are_told_against_the_first(
    before_and_after, tmp_path
):
    third = study(tmp_path / "third", trials_of([2 * r for r in RATES]))
    text = compare_studies([*before_and_after, third], output=None)
    assert [["winner", "trial 2", "trial 2", "trial 2"]] == rows(text, "winner |")
    assert "### after against before" in text
    assert "### third against before" in text


def test_studies_of_one_name_are_told_apart_by_their_places(tmp_path):
    places = [study(tmp_path / n / "study", trials_of()) for n in ("a", "b")]
    assert ["a/study", "b/study"] == [s.label for s in compared_studies(places)]


def test_no_common_candidate_is_said(tmp_path):
    one = study(tmp_path / "one", [trial_of(0, measured(), **{"zero.stage": 1})])
    other = [trial_of(n, measured(), **{"zero.stage": 2 + n}) for n in range(2)]
    text = compare_studies([one, study(tmp_path / "other", other)], output=None)
    assert "`one` and `other` have no candidate in common." in text


def test_a_baseline_that_failed_leaves_a_gain_that_cannot_be_told(tmp_path):
    crashed = Crashed(reason="x", evidence="", exit_code=1)
    trials = trials_of()
    other = [replace(trials[0], outcome=crashed), *trials[1:]]
    text = compare_studies(
        [study(tmp_path / "one", trials), study(tmp_path / "other", other)], output=None
    )
    assert "not told, the baseline crashed" in text


def test_it_is_written_as_the_suffix_says(before_and_after, tmp_path):
    page, text = tmp_path / "new folder" / "c.html", tmp_path / "c.md"
    assert f"comparison: {page}" == compare_studies(before_and_after, output=str(page))
    assert "</html>" in page.read_text()
    compare_studies(before_and_after, output=str(text))
    assert compare_studies(before_and_after, output=None) + "\n" == text.read_text()


@pytest.mark.parametrize("output", ["c.pdf", "c", "."])
def test_another_suffix_is_one_line(before_and_after, output):
    with pytest.raises(UsageError, match=r"ends in .md or .html.*type --output comparison.html"):
        compare_studies(before_and_after, output=output)


def test_a_folder_without_a_study_is_one_line(before_and_after, tmp_path):
    with pytest.raises(UsageError, match=rf"no study in {tmp_path} \(no trials/\); type"):
        compare_studies([before_and_after[0], str(tmp_path)], output=None)


def test_the_same_study_twice_is_one_line(before_and_after):
    again = f"{before_and_after[0]}/../before"
    with pytest.raises(UsageError, match=r"before/../before is the same study as .*before; name"):
        compare_studies([before_and_after[0], again], output=None)


def failed(folder):
    """Of a study in which nothing was measured."""
    crashed = Crashed(reason="a rank died", evidence="", exit_code=1)
    return study(folder, [replace(t, outcome=crashed) for t in trials_of()[:2]])


def test_a_study_in_which_nothing_was_measured_is_a_column_among_others(before_and_after, tmp_path):
    places = [before_and_after[0], failed(tmp_path / "failed"), before_and_after[1]]
    for order in (places, [places[1], *places[::2]]):
        text = compare_studies(order, output=None)
        assert "* Nothing was measured in `failed`: 2 trials: 2 crashed.\n" in text
        ((_, *winners),) = rows(text, "winner |")
        assert sorted(winners) == ["none", "trial 2", "trial 2"]
        ((_, *outcomes),) = rows(text, "trials |")
        assert "2 trials: 2 crashed" in outcomes
        assert "Measured in one, or failed otherwise:" in text
        assert "crashed, a rank died" in text
    assert "reaches 1.10" in compare_studies(places, output=None)
    both = compare_studies(places[:2], output=None)
    assert "* The gain of `before` over its own baseline: 2.50 (± 0.04), each" in both


def test_studies_of_which_none_measured_anything_are_one_line(tmp_path):
    places = [failed(tmp_path / name) for name in ("one", "other")]
    with pytest.raises(
        NothingMeasured,
        match=r"nothing was measured in any of them \(2 trials in .*one and 2 .*; type",
    ):
        compare_studies(places, output=None)


def test_a_study_of_which_no_trial_has_ended_is_one_line(before_and_after, tmp_path):
    StudyFolder(tmp_path / "begun").trials.mkdir(parents=True)
    with pytest.raises(NothingMeasured, match=r"no trial has ended in .*begun; name it when.*type"):
        compare_studies([before_and_after[0], str(tmp_path / "begun")], output=None)


def test_another_implementation_of_the_optimizer_is_the_same_work(tmp_path):
    one = study(tmp_path / "one", trials_of())
    other = trials_of(**{"optimizer.implementation": "foreach"})
    text = compare_studies([one, study(tmp_path / "other", other)], output=None)
    assert "## Ranked together" in text
    assert [["`optimizer.implementation`", "fused", "foreach"]] == rows(text, "`optimizer.impl")


def test_studies_that_vary_their_work_within_are_not_ranked(tmp_path):
    grid = [
        trial_of(n, measured(100.0 + n), **{"workload.sequence_length": 32 * (n + 1)})
        for n in range(2)
    ]
    places = [study(tmp_path / name, grid) for name in ("one", "other")]
    text = compare_studies(places, output=None)
    assert "do not train the same, they differ in `workload.sequence_length`:" in text
    assert "## Ranked together" not in text


def test_what_users_named_cannot_break_the_page(tmp_path):
    evil = "<script>alert(1)</script>|`"
    one = study(tmp_path / "one", trials_of(), {"study_name": evil})
    other = study(tmp_path / "other", trials_of(**{"model.name": evil}))
    page = tmp_path / "c.html"
    compare_studies([one, other], output=str(page))
    assert "<script>alert" not in page.read_text()
    assert "\\<script>" in compare_studies([one, other], output=None)


def test_the_settings_that_differ_are_those_that_no_study_varied(tmp_path):
    one = study(tmp_path / "one", trials_of())
    other = study(tmp_path / "other", trials_of(**{"workload.global_batch_size": 16}))
    found = compare(compared_studies([one, other]))
    assert ["workload.global_batch_size"] == [d.name for d in found.fixed]
    assert ("workload.global_batch_size",) == found.unequal_training


def test_separate_runs_give_the_interval_of_welch():
    # R: t.test(c(1.0, 1.1, 1.2), c(0.8, 0.9, 1.0)): df 4, mean 0.2, 95 % -0.0267 to 0.4267
    ratio = ratio_of_separate([1.0, 1.1, 1.2], [0.8, 0.9, 1.0])
    assert pytest.approx(0.2) == math.log(ratio.value)
    assert pytest.approx((-0.0267, 0.4267), abs=1e-4) == (
        math.log(ratio.low),
        math.log(ratio.high),
    )


def test_separate_runs_that_do_not_differ_have_no_width_and_one_run_has_no_interval():
    same = ratio_of_separate([0.5, 0.5], [0.5, 0.5])
    assert (1.0, 1.0, 1.0) == (same.low, same.value, same.high)
    assert ratio_of_separate([0.5], [0.5, 0.5]) is None
