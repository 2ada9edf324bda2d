import os
import subprocess
from dataclasses import replace

import pandas as pd
import pytest
import yaml

from sweeper.core.contest_record import write_contest
from sweeper.core.exported import exported_layout
from sweeper.core.files import write_json
from sweeper.core.finalists import Contest, judge
from sweeper.core.folder import StudyFolder
from sweeper.core.objective import Objective
from sweeper.core.outcome import Crashed, Infeasible, OutOfMemory, Stopped
from sweeper.core.pareto import pareto_front
from sweeper.core.standing import standing
from sweeper.core.study import INTERRUPTED
from sweeper.errors import UsageError
from sweeper.report.build import build_report
from sweeper.report.carried import not_found
from sweeper.report.knobs import knobs_of
from sweeper.report.page.answer import answer
from sweeper.report.page.blocks import Copyable, plain
from sweeper.report.page.facts import StudyFacts
from sweeper.report.page.key_facts import key_facts
from sweeper.report.verdict import verdict
from sweeper.run.launch import STEADY_ALLOCATOR
from tests.support import ds_config_of, measured, trial_of

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
        write_json(folder.trial(trial.number).ds_config, ds_config_of(trial))
    return folder


def test_the_report_names_the_winner_its_gain_and_where_the_files_are(tmp_path):
    folder = study_of(tmp_path, TRIALS)
    said = build_report(folder, stop_reason="5 trials were run")
    assert "trial 1 is the fastest: 250 tokens/s" in said
    assert "2.50 (±" in said
    assert str(folder.best_ds_config) in said
    text = folder.report.read_text()
    assert "5 trials were run" in text
    assert "| `zero.stage` | **2** | 0 |" in text


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
    assert (
        "| 1 | [1](trials/0001/) | measured, the winner | 250 ± 2.5 |" in folder.report.read_text()
    )


def test_the_best_config_is_the_winners(tmp_path):
    folder = study_of(tmp_path, TRIALS)
    build_report(folder)
    assert folder.trial(1).ds_config.read_text() == folder.best_ds_config.read_text()


def test_what_failed_is_grouped_by_reason_and_linked(tmp_path):
    folder = study_of(tmp_path, TRIALS)
    build_report(folder)
    text = folder.report.read_text()
    assert (
        "| infeasible | not a multiple | rule `r` | [3](trials/0003/) | trial [0](trials/0000/) "
        in text
    )
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


def callout_of(tmp_path, how):
    """The tone of the report's first sentence, and the sentence."""
    facts = StudyFacts(
        title="s", place="a b/s", how=how, stop_reason="x", knobs=knobs_of(how.trials, {})
    )
    first = answer(facts).blocks[0]
    return first.tone, plain(first.text)


def test_a_gain_within_the_noise_is_no_clear_one(tmp_path):
    close = [trial_of(0, measured(100.0, spread=0.1)), trial_of(1, measured(103.0, spread=0.1))]
    tone, said = callout_of(tmp_path, standing(close))
    assert "No clear gain over your own options; trial 1 was faster within the noise" in said
    assert "caution" == tone
    assert ("good", True) == (
        (found := callout_of(tmp_path, standing(TRIALS)))[0],
        "Trial 1 is the fastest" in found[1],
    )


def test_the_least_memory_is_a_gain_only_where_it_is_less_by_more_than_runs_differ():
    trials = [
        trial_of(0, measured(1000.0, peak_bytes=4 * 2**30)),
        trial_of(1, measured(1100.0, peak_bytes=int(3.9 * 2**30))),
    ]
    said = verdict(standing(trials, objective("memory")))
    assert "no clear gain over your own options; trial 1 needs less memory by no more than" in said
    saved = [trials[0], trial_of(1, measured(1000.0, peak_bytes=2**30))]
    assert "no clear gain" not in verdict(standing(saved, objective("memory")))
    assert "no clear gain" not in verdict(standing(saved[::1], objective("pareto")))


def test_a_baseline_that_wins_is_called_the_fastest():
    trials = [trial_of(0, measured(300.0)), *TRIALS[1:]]
    assert "your own options (trial 0) were the fastest of 3 measured" in verdict(standing(trials))


def test_who_is_ahead_and_trains_differently_is_named_beside_the_winner():
    other = (6.2, 6.1, 5.0, 4.0)
    trials = [
        trial_of(0, measured(100.0)),
        trial_of(1, measured(300.0, losses=other), **{"zero.stage": 2}),
        trial_of(2, measured(50.0, losses=other), **{"zero.stage": 3}),
    ]
    said = verdict(standing(trials))
    assert said.startswith("your own options (trial 0) were the fastest of 3 measured")
    assert said.endswith("; trial 1 measured better, but trains differently and cannot win")


def test_a_baseline_that_was_not_measured_gives_no_gain():
    trials = [trial_of(0, Infeasible(rule="r", reason="no")), *TRIALS[1:]]
    assert "the baseline (trial 0) was ruled out" in verdict(standing(trials))


def objective(kind, **more):
    return Objective(kind=kind, target_tokens=1e9, **more)


def test_the_verdict_says_what_the_study_was_after():
    trials = [
        trial_of(0, measured(1000.0, peak_bytes=4 * 2**30)),
        trial_of(1, measured(1100.0, peak_bytes=2 * 2**30)),
        trial_of(2, measured(2000.0, peak_bytes=8 * 2**30)),
    ]
    least = verdict(standing(trials, objective("memory")))
    assert "trial 1 needs the least memory at 1,000 tokens/s or more" in least
    assert "0.50 times its 4.00 GiB" in least
    fast = verdict(standing(trials, objective("pareto")))
    assert "trial 2 is the fastest of the Pareto front" in fast
    cost = verdict(standing(trials, objective("cost", price_per_device_hour=2.0)))
    assert "trial 2 is the cheapest" in cost
    assert "1e+09 tokens take 139 h, and cost 278 on 1 rank," in cost


def test_the_verdict_is_that_of_the_finals_with_their_interval():
    contest = Contest(finalists=(1, 2), baseline=0)
    rounds = [
        {0: measured(100.0 + n), 1: measured(150.0 + n), 2: measured(200.0 + 2 * n)}
        for n in range(3)
    ]
    trials = [trial_of(n, measured(v)) for n, v in enumerate((100.0, 300.0, 200.0))]
    how = standing(trials, finals=judge(contest, rounds))
    assert 2 == how.winner.number  # though trial 1 looked faster in the search
    said = verdict(how)
    assert "trial 2 is the fastest: 202 tokens/s" in said
    assert "times the baseline's tokens/s (95 % interval)" in said
    assert "tie" not in said


# Tokens/s by trial, and what each round adds: the same in sum, and nobody is always ahead.
TIED = {0: 100.0, 1: 150.0, 2: 150.0}
ADDED = {0: (0, 9, 4, 2, 7, 5), 1: (9, 0, 5, 4, 2, 7), 2: (4, 5, 9, 0, 7, 2.5)}
GIB = 2**30


def tied(*, rates=None, peaks, finalists=(1, 2), **how):
    """A study whose finals could not tell those of the same rate apart."""
    rates = rates or TIED
    contest = Contest(finalists=finalists, baseline=0)
    rounds = [
        {n: measured(rates[n] + ADDED[n][k], peak_bytes=peaks[n]) for n in contest.entrants}
        for k in range(6)
    ]
    trials = [trial_of(n, measured(rate, peak_bytes=peaks[n])) for n, rate in rates.items()]
    return standing(trials, finals=judge(contest, rounds), **how)


def test_a_tie_that_memory_decides_is_no_fastest(tmp_path):
    tone, said = callout_of(tmp_path, tied(peaks={0: GIB, 1: 2 * GIB, 2: GIB}))
    assert said.startswith("Trial 2 is as fast as trial 1 (a tie), and taken for its memory: 15")
    assert "the fastest" not in said
    assert "caution" == tone


def test_a_tie_of_the_same_memory_is_ahead_by_a_hair(tmp_path):
    _, said = callout_of(tmp_path, tied(peaks={0: GIB, 1: GIB, 2: GIB}))
    assert "is as fast as trial 1 (a tie), and by a hair the first: 15" in said


def test_a_tie_with_the_baseline_is_no_clear_gain(tmp_path):
    rates = {0: 150.0, 1: 150.0, 2: 150.0}
    how = tied(rates=rates, peaks={0: 3 * GIB, 1: 2 * GIB, 2: GIB})
    tone, said = callout_of(tmp_path, how)
    assert said.startswith(
        "No clear gain over your own options; trial 2 is as fast as trial 1 and the baseline (a tie)"
    )
    assert "caution" == tone
    tone, said = callout_of(tmp_path, tied(rates=rates, peaks={0: GIB, 1: 2 * GIB, 2: 2 * GIB}))
    assert said.startswith(
        "No clear gain over your own options (trial 0), which are as fast as trial 1 and trial 2 "
        "(a tie), and taken for their memory"
    )
    assert "neutral" == tone


@pytest.mark.parametrize(
    ("kind", "alike"), [("cost", "as cheap as"), ("time_to_target", "as fast as")]
)
def test_a_tie_is_told_in_the_words_of_what_the_study_was_after(kind, alike):
    wanted = objective(kind, price_per_device_hour=1.0)
    how = tied(peaks={0: GIB, 1: 2 * GIB, 2: GIB}, objective=wanted)
    assert f"trial 2 is {alike} trial 1 (a tie), and taken for its memory" in verdict(how)


def test_the_rates_of_a_report_of_finals_have_the_ratio_that_it_prints(tmp_path):
    how = tied(peaks={0: GIB, 1: 2 * GIB, 2: GIB})
    facts = StudyFacts(
        title="s", place="s", how=how, stop_reason="x", knobs=knobs_of(how.trials, {})
    )
    gain = facts.best_rate(how.winner) / facts.best_rate(how.trials[0])
    assert pytest.approx(how.finals.gain.value, rel=1e-12) == gain
    rate, gained, *_ = key_facts(facts, how.winner)
    assert rate.value in verdict(how)
    assert f"{8 * facts.best_rate(how.winner) / 256:.4g} samples/s" in rate.note
    assert "the mean of its 6 rounds" in rate.note
    assert f"{gain:.2f}" in gained.value


def test_the_folder_of_the_command_that_verifies_is_quoted(tmp_path):
    facts = StudyFacts(
        title="s", place="a b/s", how=standing(TRIALS), stop_reason="x", knobs=knobs_of(TRIALS, {})
    )
    typed = [block.text for block in answer(facts).blocks if isinstance(block, Copyable)]
    assert ["'a b/s/best/launch.sh' your_script.py", "python -m sweeper verify 'a b/s'"] == typed


def facts_of(trials, stop_reason="4 trials were run (n_trials=4)", **study):
    how, knobs = standing(trials), knobs_of(trials, {})
    return StudyFacts(
        title="s", place="results/s", how=how, stop_reason=stop_reason, knobs=knobs, study=study
    )


def boxes(facts):
    """What can be copied beside the configuration, by its label."""
    found = [block for block in answer(facts).blocks if isinstance(block, Copyable)]
    return {block.label: block.text for block in found[1:]}


def test_a_baseline_that_won_is_not_verified_but_the_search_goes_on():
    trials = [trial_of(0, measured(300.0)), *TRIALS[1:]]
    on = "python -m sweeper resume=results/s"
    further = {"To look further": f"{on} hydra.sweeper.n_trials=8"}
    assert further == boxes(facts_of(trials, arguments=[]))
    assert {"To look further": on} == boxes(facts_of(trials, INTERRUPTED, arguments=[]))
    assert {} == boxes(facts_of(trials, "all were tried", arguments=[]))
    assert {} == boxes(facts_of(trials))  # a plain grid


def test_a_winner_beside_a_baseline_that_failed_is_verified_to_run():
    trials = [trial_of(0, Infeasible(rule="r", reason="no")), *TRIALS[1:]]
    verify = "python -m sweeper verify results/s"
    assert {"To see whether it still runs": verify} == boxes(facts_of(trials))
    assert {"To see whether the gain still holds": verify} == boxes(facts_of(TRIALS))


def key_fact(label, facts):
    (found,) = (fact for fact in key_facts(facts, facts.winner) if fact.label == label)
    return found


def test_a_baseline_alone_is_the_best_of_nothing():
    alone = [TRIALS[0], TRIALS[2]]
    gain = key_fact("Gain over the baseline", facts_of(alone))
    assert "nothing to compare" == gain.value
    won = key_fact("Gain over the baseline", facts_of([TRIALS[0], trial_of(1, measured(50.0))]))
    assert ("none", "your own options are the best that was found") == (won.value, won.note)


def test_more_memory_than_the_limit_is_not_called_memory_left():
    trials = [trial_of(0, measured(100.0, peak_bytes=16 * GIB + 205 * 2**20))]
    left = key_fact("Memory left", facts_of(trials))
    assert ("none", "caution") == (left.value, left.tone)
    assert "over the limit by 205 MiB, 1.3% of the limit of 16.00 GiB a rank" == left.note


def test_what_the_study_was_given_is_called_no_finding(tmp_path):
    folder = study_of(tmp_path, TRIALS)
    build_report(folder)
    said = (
        "In the JSON `lr`, `betas`, `eps`, `weight_decay` and `gradient_clipping` are no findings"
    )
    assert said in folder.report.read_text()
    assert said in folder.bundle.readme.read_text()
    rates = [trial_of(n, measured(), **{"optimizer.lr": n + 1.0}) for n in range(2)]
    assert "In the JSON `betas`" in not_found(ds_config_of(rates[0]), rates)
    assert "" == not_found({"train_batch_size": 4}, TRIALS)


def test_a_stopped_trial_is_in_the_ranking_with_its_estimate_and_no_failure(tmp_path):
    stopped = Stopped(measurement=measured(50.0).measurement, reason="clearly beaten")
    folder = study_of(tmp_path, [trial_of(0, measured(100.0)), trial_of(1, stopped)])
    build_report(folder)
    text = folder.report.read_text()
    assert "[1](trials/0001/) | stopped early: beaten | 50 (3 steps) |" in text
    assert "What was not measured" not in text
    assert "None failed: 1 measured to the end, 1 stopped early." in text
    assert "2 trials: 1 measured to the end, 1 stopped early." in text


def test_a_stopped_trial_that_wins_the_finals_is_the_answer(tmp_path):
    stopped = Stopped(measurement=measured(90.0).measurement, reason="clearly beaten")
    trials = [trial_of(0, measured(50.0)), trial_of(1, measured(100.0)), trial_of(2, stopped)]
    folder = study_of(tmp_path, trials)
    contest = Contest(finalists=(1, 2), baseline=0)
    rounds = [{0: measured(50.0), 1: measured(100.0 + n), 2: measured(200.0)} for n in range(3)]
    for number, found in enumerate(rounds, start=1):
        for n, outcome in found.items():
            again = replace(trials[n], outcome=outcome)
            write_json(folder.finalists.trial(number, n).trial, again.to_json())
    write_contest(folder.finalists, contest, judge(contest, rounds))
    build_report(folder)
    assert "Trial 2 is the fastest: 200 tokens/s" in folder.report.read_text()
    assert folder.best_ds_config.exists()


SPREAD = {
    **{"checkpointing.every_nth_block": 1, "compile.mode": "engine"},
    **{"parallel.tensor": 2, "hardware.ranks": 4, "launch.omp_threads": 3},
}


def bundle_of(tmp_path, **changes):
    folder = study_of(tmp_path, [trial_of(0, measured(), **changes)])
    build_report(folder)
    return folder


def test_one_sentence_says_what_the_json_does_not_carry_and_what_does(tmp_path):
    folder = bundle_of(tmp_path, **SPREAD)
    lines = folder.report.read_text().splitlines()
    sentence, again = [line for line in lines if line.startswith("The JSON alone does not carry")]
    assert sentence == again  # beside the answer, and under what to trust
    for part in (
        "activation checkpointing (every block)",
        "engine.compile()",
        "2 ranks of tensor parallelism",
        "the launch settings (omp_threads)",
        "`best/settings.yaml`",
        "from sweeper.best import prepare",
        "`best/launch.sh`",
    ):
        assert part in sentence
    readme = folder.bundle.readme.read_text()
    assert sentence in readme
    assert 'engine = prepare("best", model)' in readme
    assert "data rank r // 2, of 2" in readme


def test_nothing_is_missing_where_the_json_carries_all(tmp_path):
    folder = bundle_of(tmp_path, **{"zero.stage": 2})
    assert "does not carry" not in folder.report.read_text()
    assert "It carries everything" in folder.bundle.readme.read_text()


def test_the_exported_settings_are_what_the_json_cannot_carry(tmp_path):
    exported = yaml.safe_load(bundle_of(tmp_path, **SPREAD).bundle.settings.read_text())
    assert exported == {
        "schema_version": 1,
        "hardware": {"accelerator": "cpu", "ranks": 4},
        "checkpointing": {"every_nth_block": 1, "on_cpu": False},
        "compile": {"mode": "engine"},
        "parallel": {"tensor": 2, "pipeline": 1, "sequence": 1, "expert": 1},
        "launch": {"bind_cores": False, "omp_threads": 3, "cuda_allocator": None},
        "ops": ["ShareMemCommBuilder"],
    }
    layout = exported_layout(exported, where="settings.yaml")
    assert (1, 2, "engine") == (
        layout.checkpoint_every_nth_block,
        layout.tensor_parallel,
        layout.compile,
    )


@pytest.mark.parametrize("document", [None, {"schema_version": 7}])
def test_exported_settings_of_another_schema_are_one_line(document):
    with pytest.raises(UsageError, match=r"best/settings.yaml: .*; type python -m sweeper report"):
        exported_layout(document, where="best/settings.yaml")


def started(folder, *arguments, **more):
    """What best/launch.sh gives a ``deepspeed`` that only tells."""
    program = folder.path / "programs" / "deepspeed"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nenv\n')
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [str(folder.bundle.launch), *arguments],
        env={"PATH": path, **more},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_the_launch_script_gives_the_environment_of_a_trial_on_the_cpu(tmp_path):
    folder = bundle_of(tmp_path, **SPREAD)
    subprocess.run(["sh", "-n", str(folder.bundle.launch)], check=True)
    said = started(folder, "train.py", "two words", "$HOME")
    given = ["--hostfile=none", "--num_gpus=4", "--no_local_rank"]
    assert said[:6] == [*given, "train.py", "two words", "$HOME"]
    assert {"DS_ACCELERATOR=cpu", "LOCAL_SIZE=4", "OMP_NUM_THREADS=3"} <= set(said)
    assert {f"{name}={value}" for name, value in STEADY_ALLOCATOR.items()} <= set(said)


@pytest.mark.parametrize(
    ("option", "is_told_not_to"), [(None, True), ("--local-rank", True), ("--local_rank", False)]
)
def test_the_launcher_gives_a_rank_to_a_script_that_asks_for_it(tmp_path, option, is_told_not_to):
    folder = study_of(tmp_path, [trial_of(0, measured())])
    write_json(folder.script, {"notes": [], "facts": {"local_rank_option": option}})
    build_report(folder)
    assert is_told_not_to == ("--no_local_rank" in folder.bundle.launch.read_text())


def test_the_launch_script_leaves_threads_and_allocator_to_who_has_set_them(tmp_path):
    folder = bundle_of(tmp_path, **{"hardware.ranks": 2})
    said = started(folder, "train.py", OMP_NUM_THREADS="7", MALLOC_TRIM_THRESHOLD_="1")
    assert {"OMP_NUM_THREADS=7", "MALLOC_TRIM_THRESHOLD_=1"} <= set(said)


def test_the_launch_script_names_the_devices_that_may_be_seen(tmp_path):
    folder = bundle_of(
        tmp_path,
        **{"hardware.accelerator": "cuda", "hardware.ranks": 2, "launch.bind_cores": True},
        **{"launch.cuda_allocator": "expandable_segments:True; it's"},
    )
    said = started(folder, "train.py", CUDA_VISIBLE_DEVICES="3,5,7")
    assert said[:3] == ["--hostfile=none", "--include=localhost:3,5", "--bind_cores_to_rank"]
    assert "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True; it's" in said
    assert not any(line.startswith(("MALLOC_", "LOCAL_SIZE=")) for line in said)


def test_the_pareto_front_holds_what_nothing_beats_in_both():
    points = [(1.0, 10.0), (2.0, 20.0), (2.0, 15.0), (3.0, 5.0), (4.0, 30.0)]
    assert [(1.0, 10.0), (2.0, 20.0), (4.0, 30.0)] == pareto_front(points)


def test_parallel_layouts_are_compared_by_their_fastest_trials(tmp_path):
    ranks = {"hardware.ranks": 4}
    trials = [
        trial_of(0, measured(100.0), **ranks),
        trial_of(1, measured(90.0), **ranks, **{"parallel.tensor": 2}),
        trial_of(2, measured(95.0), **ranks, **{"parallel.tensor": 2, "zero.stage": 1}),
        trial_of(3, measured(97.0), **ranks, **{"parallel.pipeline": 4}),
    ]
    folder = study_of(tmp_path, trials)
    build_report(folder)
    report = folder.report.read_text()
    rows = [line.split("|")[1:3] for line in report.splitlines() if line.startswith("| ")]
    ways = {"data 4", "pipeline 4", "tensor 2 x data 2"}
    layouts = [(a.strip(), b.strip()[1]) for a, b in rows if a.strip() in ways]
    assert [("data 4", "0"), ("pipeline 4", "3"), ("tensor 2 x data 2", "2")] == layouts


def test_one_layout_needs_no_comparison(tmp_path):
    folder = study_of(tmp_path, [trial_of(0, measured()), trial_of(1, measured())])
    build_report(folder)
    assert "Parallel layouts" not in folder.report.read_text()
