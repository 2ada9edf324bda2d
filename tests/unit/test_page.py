"""What a report says: effects, alternatives, failures, and how it is written down."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from sweeper.core.files import write_json
from sweeper.core.objective import Objective
from sweeper.core.outcome import Crashed, Infeasible, OutOfMemory, Stopped, measurement_of
from sweeper.core.quantities import format_bytes
from sweeper.core.standing import standing
from sweeper.core.study import INTERRUPTED
from sweeper.core.visible import visible
from sweeper.report.alternatives import alternatives
from sweeper.report.build import build_report
from sweeper.report.effects import effects
from sweeper.report.html import in_script, to_html
from sweeper.report.knobs import knobs_of
from sweeper.report.markdown import to_markdown
from sweeper.report.page.blocks import (
    Code,
    Copyable,
    Link,
    Page,
    Paragraph,
    Section,
    Table,
    marked,
    plain,
    say,
)
from sweeper.report.page.facts import StudyFacts
from sweeper.report.page.not_chosen import not_chosen
from sweeper.report.page.pictures import explorer_data
from tests.recorded import SPACE, at, crowd, recorded, small, small_study
from tests.support import ROOT, measured, trial_of

GIB = 2**30
EVIL = "</script><b onload=x>|[a](javascript:1)`*_\u2028'\""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of a study whose report is there; to be read only."""
    made = small_study(tmp_path_factory.mktemp("small") / "s")
    write_json(made.trial(1).spec, {})
    build_report(made)
    return made


def effects_of(trials, **more):
    how = standing(trials)
    knobs = knobs_of(trials, SPACE)
    found = effects(how.winner, trials[0], trials, knobs, **{"explained": {}, **more})
    return {effect.knob: effect for effect in found}


def test_an_effect_is_taken_beside_the_winner_where_there_is_such_a_neighbour():
    found = effects_of(small())
    assert {"zero.stage", "batch.micro_size"} == set(found)
    stage = found["zero.stage"]
    assert ("winner", 2, 1) == (stage.near, stage.pair.trial, stage.pair.other)
    assert pytest.approx(250 / 160) == stage.pair.times
    assert GIB == stage.pair.more_bytes
    assert ("winner", 4) == (found["batch.micro_size"].near, found["batch.micro_size"].pair.other)


def test_else_beside_the_baseline_else_between_any_two_that_differ_in_nothing_else():
    both = {"batch.micro_size": 4, "zero.stage": 1}
    trials = [
        at(0, measured(100.0)),
        at(1, measured(300.0), **both),
        at(2, measured(150.0), **{"batch.micro_size": 4}),
        at(3, measured(60.0), **{"precision.mode": "bf16"}),
        at(4, measured(90.0), **{"precision.mode": "bf16", "zero.stage": 1}),
    ]
    beside = effects_of([trials[0], trials[1], trials[2]])
    assert ("winner", 2.0) == (beside["zero.stage"].near, beside["zero.stage"].pair.times)
    assert ("baseline", 1.5) == (
        beside["batch.micro_size"].near,
        beside["batch.micro_size"].pair.times,
    )
    elsewhere = effects_of(
        [trials[0], trials[1], replace(trials[3], number=2), replace(trials[4], number=3)]
    )
    assert ("elsewhere", pytest.approx(1.5)) == (
        elsewhere["zero.stage"].near,
        elsewhere["zero.stage"].pair.times,
    )


def test_without_such_a_pair_there_is_what_it_explains_and_no_effect():
    both = {"batch.micro_size": 4, "zero.stage": 1}
    found = effects_of(
        [at(0, measured(100.0)), at(1, measured(300.0), **both)], explained={"zero.stage": 0.7}
    )
    assert (None, 0.7) == (found["zero.stage"].pair, found["zero.stage"].explains)
    assert (None, None) == (found["batch.micro_size"].pair, found["batch.micro_size"].explains)


def test_a_pair_that_was_in_the_finals_has_their_interval(folder):
    row = next(
        line
        for line in folder.report.read_text().splitlines()
        if line.startswith("| `zero.stage` | 0 | 1 |")
    )
    assert re.search(r"1\.5\d × \(1\.5\d to 1\.5\d\)", row)
    assert (
        "beside the winner: trial [2](trials/0002/) against [1](trials/0001/), in the finals" in row
    )


def alternatives_of(trials):
    how = standing(trials)
    knobs = knobs_of(trials, SPACE)
    found = alternatives(how.winner, trials, knobs, None)
    return {(a.knob, a.value): a for a in found}


def test_a_value_that_the_winner_has_not_is_told_by_the_nearest_trial_with_it():
    found = alternatives_of(small())
    offload = found["offload.optimizer", "cpu"]
    assert (3, 90 / 250) == (offload.nearest.trial, offload.nearest.times)
    assert () == offload.also
    assert offload.nearest.estimate


def test_a_value_that_failed_nearest_to_the_winner_says_how():
    found = alternatives_of(small())
    assert 5 == found["batch.micro_size", "8"].failed.number
    assert found["batch.micro_size", "8"].nearest is None
    assert 8 == found["precision.mode", "bf16"].failed.number


def test_a_value_that_a_rule_forbids_beside_the_winner_says_which():
    trials = [at(0, measured(100.0)), at(1, measured(50.0), **{"zero.stage": 1})]
    found = alternatives_of(trials)
    assert "needs ZeRO stage 1, 2 or 3" in found["offload.optimizer", "cpu"].forbidden
    assert "" == found["zero.stage", "1"].forbidden
    assert "" == found["checkpointing.every_nth_block", "1"].forbidden


def test_an_option_of_a_group_stands_for_the_settings_that_conf_gives_it():
    trials = [
        trial_of(0, measured(100.0), point={"zero": "stage0", "offload": "none"}),
        trial_of(
            1, measured(90.0), point={"zero": "stage1", "offload": "none"}, **{"zero.stage": 1}
        ),
    ]
    space = {"zero": ["stage0", "stage1"], "offload": ["none", "optimizer"]}
    found = alternatives(trials[0], trials, knobs_of(trials, space), None)
    assert [("zero", "stage1"), ("offload", "optimizer")] == [(a.knob, a.value) for a in found]
    assert "needs ZeRO stage" in found[1].forbidden


@pytest.mark.parametrize(
    "name", ["my_group", "model.layers", "batch.micro_size", "a.b.c", "../zero"]
)
def test_a_value_that_nobody_can_judge_is_just_not_explored(name):
    trials = [trial_of(0, measured(100.0), point={name: "own"})]
    found = alternatives(trials[0], trials, knobs_of(trials, {name: ["own", "{", "0"]}), None)
    assert ["", ""] == [a.forbidden for a in found]


def test_the_options_of_a_plain_grid_are_the_settings_that_vary():
    trials = [
        trial_of(n, measured(), **{"zero.stage": n, "precision.mode": m})
        for n, m in ((0, "fp32"), (1, "bf16"))
    ]
    knobs = knobs_of(trials, {})
    assert ("zero.stage", "precision.mode") == knobs.names
    assert ["zero.stage", "precision.mode"] == knobs.differing(*trials)


def test_failures_are_grouped_whatever_number_is_in_the_reason(folder):
    text = folder.report.read_text()
    row = next(line for line in text.splitlines() if line.startswith("| out-of-memory |"))
    assert "| [5](trials/0005/), [6](trials/0006/) |" in row
    assert "| needs 20 to 24 GiB |" in row
    assert "host memory ran out during warm-up" in row
    assert row.endswith("trial [2](trials/0002/) (`batch.micro_size`: 8 → 4) |")
    assert "| rule `optimizer-offload-needs-zero` |" in text
    assert "ValueError: no" in text  # the end of the evidence


def failing_with(tmp_path, *reasons):
    """The row of crashes of a study with these reasons."""
    crashed = [at(n, Crashed(reason=r, evidence="", exit_code=n)) for n, r in enumerate(reasons, 1)]
    folder = recorded(tmp_path / "s", [at(0, measured()), *crashed], study_name="s", space=SPACE)
    build_report(folder)
    rows = folder.report.read_text().splitlines()
    return next(line for line in rows if line.startswith("| crashed |"))


def test_the_numbers_of_a_group_are_told_from_the_least_to_the_largest(tmp_path):
    row = failing_with(tmp_path, "rank 1: needs 1,024 MiB", "rank 1: needs 20.5 MiB")
    assert "| crashed | rank 1: needs 20.5 to 1,024 MiB | exit code 1, exit code 2 |" in row


def test_a_number_in_a_name_is_no_range(tmp_path):
    row = failing_with(tmp_path, "no file /x/a1", "no file /x/a2")
    assert "| no file /x/a1 (trial 1; the others likewise) |" in row


def test_a_failed_trial_is_told_in_english(folder):
    text = folder.report.read_text()
    assert "Trial [8](trials/0008/) crashed: rank 0 died." in text
    assert "Trial [5](trials/0005/) ran out of memory: needs 20 GiB." in text


def facts_of(trials, **more):
    how = standing(trials, **more)
    knobs = knobs_of(trials, SPACE)
    return StudyFacts(title="s", place="s", how=how, stop_reason="x", knobs=knobs)


def why_of(trials, **more):
    facts = facts_of(trials, **more)
    section = Section(name="w", title="Why", blocks=[*not_chosen(facts, facts.winner)])
    return to_markdown(Page(title="t", subtitle=("s",), sections=(section,)), Path())


OFFLOAD = {"zero.stage": 1, "offload.optimizer": "cpu"}


def test_what_a_rule_keeps_out_is_not_said_to_trade_speed():
    early = Stopped(measurement=measured(90.0).measurement, reason="clearly beaten")
    text = why_of(
        [
            at(0, measured(100.0)),
            at(1, measured(70.0), **{"zero.stage": 1}),
            at(2, early, **OFFLOAD),
        ]
    )
    reason, _, table = text.partition("Tokens/s and memory with every other value")
    assert "`offload.optimizer` is not allowed beside the winner's other options" in reason
    assert "reached 0.90 × (± 0.01, an estimate) of the winner's tokens/s." in reason
    assert "`checkpointing.every_nth_block` trades speed for memory" in reason
    assert "it gave 1.29 × (± 0.02, an estimate): trial [2](trials/0002/) against [1]" in table


def test_what_was_no_slower_by_itself_is_not_said_to_trade_speed():
    faster = at(2, measured(120.0), **OFFLOAD)
    other = {"zero.stage": 1, "batch.micro_size": 2}
    text = why_of(
        [
            at(0, measured(90.0)),
            at(1, measured(100.0), **{"zero.stage": 1}),
            faster,
            at(3, measured(150.0), **other),
        ]
    )
    assert "`offload.optimizer` trades" not in text
    assert "`offload.optimizer` and" not in text
    assert "The best trial with `offload.optimizer` that is otherwise near the winner, [2]" in text


def test_who_trains_differently_is_not_the_best_with_an_option():
    other = measured(900.0, losses=(6.2, 5.0, 4.0, 3.0))
    trials = [at(0, measured(90.0)), at(1, measured(100.0), **{"zero.stage": 1})]
    text = why_of([*trials, at(2, other, **OFFLOAD)])
    assert (
        "With `offload.optimizer` only trial [2](trials/0002/) was measured near the winner, which "
        "trains differently." in text
    )
    assert "`offload.optimizer` trades" not in text


def test_a_row_of_who_trains_differently_says_so():
    other = measured(900.0, losses=(6.2, 5.0, 4.0, 3.0))
    text = why_of([at(0, measured(100.0)), at(1, other, **{"zero.stage": 1})])
    assert "9.00 × (± 0.13)" in text
    assert "It trains differently and cannot win." in text


def test_what_the_study_looked_for_is_said_where_the_table_tells_tokens():
    trials = [
        at(0, measured(100.0)),
        at(1, measured(90.0, peak_bytes=2 * GIB), **{"zero.stage": 1}),
    ]
    least = Objective(kind="memory", target_tokens=1e9)
    text = why_of(trials, objective=least)
    assert "The study looked for the least memory." in text
    assert "| 0.90 × (± 0.01) | +1.00 GiB |" in text
    assert "memory is not short" not in text
    assert "The study looked for" not in why_of(trials)


def test_the_front_of_the_explorer_has_neither_estimates_nor_what_trains_differently():
    early = Stopped(measurement=measured(300.0).measurement, reason="clearly beaten")
    other = measured(900.0, losses=(6.2, 5.0, 4.0, 3.0))
    trials = [at(0, measured(100.0)), at(1, other, **{"zero.stage": 1})]
    trials += [at(2, early, **{"zero.stage": 2}), at(3, measured(200.0), **{"zero.stage": 3})]
    data = explorer_data(facts_of(trials))
    assert [3] == data["front"]
    assert [False, True, False, False] == [t["differs"] for t in data["trials"]]
    assert ["100 ± 0.99", "300 (3 steps)", "200 ± 2"] == [
        data["trials"][n]["rate"] for n in (0, 2, 3)
    ]
    assert format_bytes(data["limit_bytes"]) == data["limit"]


def test_memory_in_why_is_that_of_the_finals_where_the_ratio_is(folder):
    row = next(
        line
        for line in folder.report.read_text().splitlines()
        if line.startswith("| `zero.stage` | 0 | 1 |")
    )
    assert "| +2.00 GiB |" in row  # 3 and 1 GiB there, 3 and 2 GiB in the search


def test_the_parts_of_a_step_are_said_to_be_no_measure_of_the_gain(folder):
    text = folder.report.read_text()
    assert "so these sums need not have the ratio of the gain." in text
    real = (ROOT / "tests" / "golden" / "gpt2-nano.report.md").read_text()
    assert "need not have the ratio of the gain (1.35 × here, 2.16 × there)." in real
    assert "Each changed option by itself; in the search, where each ran once, but for the" in text


@pytest.mark.parametrize(
    ("trials", "said"),
    [
        ([at(0, Crashed(reason="x", evidence="", exit_code=1))], "sweeper doctor"),
        ([at(0, OutOfMemory(memory="host", phase="build", reason="x"))], "space=memory"),
        ([at(0, Infeasible(rule="r", reason="x"))], "sweeper explain"),
    ],
)
def test_a_study_without_a_number_says_what_to_do_next(tmp_path, trials, said):
    folder = recorded(tmp_path / "s", trials, study_name="none", space=SPACE)
    build_report(folder)
    answer = folder.report.read_text().partition("## What failed")[0]
    assert "The only trial was not measured." in answer
    assert said in answer
    assert "The only trial was not measured." in folder.report_html.read_text()


def test_the_six_questions_are_answered_by_the_report_alone(folder):
    text = folder.report.read_text()
    for answer in (
        "| `zero.stage` | **1** | 0 |",  # what do I use
        "best/launch.sh your_script.py",
        "| Gain over the baseline | **2.50 ×** | 95 % interval",  # how much faster
        "| How sure | **a clear lead** |",  # how sure is that
        "| Memory left | **13.00 GiB** | 81% of the limit of 16.00 GiB a rank |",
        "| `offload.optimizer` | none | cpu | 0.36 × (± 0.01, an estimate) |",  # why is offload not used
        "`offload.optimizer` and `checkpointing.every_nth_block` trade speed for memory",
        "4 trials of 9 gave no number.",  # what failed
    ):
        assert answer in text


def test_the_same_study_gives_the_same_bytes(folder):
    first = (folder.report.read_bytes(), folder.report_html.read_bytes())
    build_report(folder)
    assert first == (folder.report.read_bytes(), folder.report_html.read_bytes())


def test_the_page_names_no_other_place(folder):
    html = folder.report_html.read_text()
    spaces = re.compile(r"http://www\.w3\.org/(2000/svg|1999/xlink)")
    assert [] == re.findall(
        r"(?:https?:)?//[a-z][\w.-]+",
        re.sub(r"<script>.*?</script>", "", spaces.sub("", html), flags=re.S),
    )
    assert not re.search(r"<(link|script|img|iframe|object)[^>]+(src|href)=\"(?!data:)", html)


def test_trials_of_two_machines_are_not_ranked_in_silence(tmp_path):
    trials = small()
    trials[1] = replace(trials[1], environment={**trials[1].environment, "torch": "2.14.0"})
    folder = recorded(tmp_path / "s", trials, study_name="two", space=SPACE)
    build_report(folder)
    assert (
        "These trials ran in 2 environments, which differ in `torch`" in folder.report.read_text()
    )


def lengths(*tokens):
    """The trials of a plain grid over the length of samples."""
    return [
        trial_of(n, measured(100.0 + n, tokens_per_step=8 * t), **{"workload.sequence_length": t})
        for n, t in enumerate(tokens)
    ]


def test_tokens_of_unequal_work_are_not_compared_in_silence(tmp_path):
    folder = recorded(tmp_path / "s", lengths(32, 64))
    build_report(folder)
    text = folder.report.read_text()
    assert (
        "**These trials do not all train the same, they differ in `workload.sequence_length`: a token of "
        "one is not the work of a token of another, and tokens/s of unequal work are not comparable.**"
        in text
    )
    assert "the same batches for every trial" not in text
    assert "of 8 samples" not in text
    assert "global batch 8 × 32 tokens in the baseline" in text


def test_equal_work_is_said_to_be_equal_whatever_only_moves_its_speed(tmp_path):
    folder = recorded(
        tmp_path / "s",
        [
            trial_of(0, measured(100.0)),
            trial_of(1, measured(120.0), **{"optimizer.implementation": "foreach"}),
        ],
    )
    build_report(folder)
    text = folder.report.read_text()
    assert "of 8 samples (256 tokens), the same batches for every trial." in text
    assert "do not all train the same" not in text


def test_a_study_that_was_interrupted_says_so_in_a_sentence(tmp_path):
    folder = recorded(tmp_path / "s", small(), stop_reason=INTERRUPTED)
    build_report(folder)
    assert "* The study ended because it was interrupted.\n" in folder.report.read_text()


def test_where_memory_decides_it_is_memory_that_kept_the_others_out():
    trials = [
        at(0, measured(100.0, peak_bytes=3 * GIB)),
        at(1, measured(300.0, peak_bytes=2 * GIB), **{"zero.stage": 1}),
        at(2, measured(84.0, peak_bytes=GIB), **OFFLOAD),
    ]
    text = why_of(trials, objective=Objective(kind="memory", target_tokens=1e9))
    assert (
        "The best trial with `offload.optimizer` that is otherwise near the winner, [2](trials/0002/), "
        "needs 1.00 GiB less memory than the winner, and reached 0.28 × (± 0.0039) of the winner's tokens/s."
        in text
    )


def test_a_small_ratio_has_two_digits_and_so_has_its_spread():
    trials = [at(0, measured(1000.0)), at(1, measured(83.4), **{"zero.stage": 1})]
    assert "| 0.083 × (± 0.0012) |" in why_of(trials)


def test_the_share_of_the_work_grows_with_the_trials_not_with_their_square():
    class Counted(dict):
        looked = 0

        def get(self, *arguments):
            Counted.looked += 1
            return super().get(*arguments)

    def looks(count):
        Counted.looked = 0
        trials = [replace(t, settings=Counted(t.settings)) for t in crowd(count)]
        how = standing(trials)
        Counted.looked = 0
        knobs = knobs_of(trials, SPACE)
        effects(how.winner, trials[0], trials, knobs, explained={})
        alternatives(how.winner, trials, knobs, None)
        return Counted.looked

    assert looks(200) < 3 * looks(100)


def page_of(*blocks, title="a title"):
    section = Section(name="s", title="S", blocks=blocks)
    return Page(title=title, subtitle=("sub",), sections=(section,))


def test_a_value_is_never_read_for_marks():
    assert ("a ", Code("b"), " `c` {} d") == tuple(_joined(say("a `b` {}", "`c` {} d")))
    assert ("one ` alone",) == marked("one ` alone")


def _joined(text):
    """Neighbouring words put together."""
    out = []
    for piece in text:
        if out and isinstance(piece, str) and isinstance(out[-1], str):
            out[-1] += piece
        else:
            out.append(piece)
    return out


def test_what_users_write_stays_text_in_html():
    table = Table(caption=EVIL, head=(EVIL,), rows=[((Code(EVIL), EVIL, Link(EVIL, EVIL)),)])
    html = to_html(
        page_of(Paragraph(text=(EVIL,)), table, Copyable(label=EVIL, text=EVIL), title=EVIL)
    )
    assert "<b onload" not in html
    assert 1 == html.count("</script>")
    assert 'href="javascript' not in html


def test_data_cannot_end_the_script_that_it_stands_in():
    text = in_script({"name": EVIL})
    assert not set("<>&\u2028") & set(text)
    assert {"name": visible(EVIL)} == json.loads(text)


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("a|b", r"a\|b"),
        ("<b>", r"\<b>"),
        ("[a](b)", r"\[a\](b)"),
        ("*a* _b_ c_d", r"\*a\* \_b\_ c_d"),
        ("&lt; & Q&A", r"\&lt; & Q&A"),
        ("# a", r"\# a"),
        ("1. a", r"\1. a"),
        ("- a\n- b", r"\- a - b"),
        ("a\\", r"a\\"),
    ],
)
def test_what_users_write_stays_text_in_markdown(given, written):
    text = to_markdown(page_of(Paragraph(text=(given,))), Path())
    assert written == text.splitlines()[6]


def test_code_in_markdown_has_more_marks_than_are_in_it():
    text = to_markdown(
        page_of(Paragraph(text=(Code("a `` | b"),)), Copyable(label="l", text="```\nx")), Path()
    )
    assert "```a `` \\| b```" in text
    assert "````\n```\nx\n````" in text


def test_a_link_keeps_to_its_folder():
    assert "[x](javascript%3A1)" in to_markdown(
        page_of(Paragraph(text=(Link("x", "javascript:1"),))), Path()
    )


def test_every_measured_trial_has_its_files_linked(folder):
    text = folder.report.read_text()
    for trial in folder.read_trials():
        if measurement_of(trial.outcome) is not None:
            assert f"(trials/{trial.number:04d}/ds_config.json)" in text
    assert "(trials/0001/spec.json)" in text
    assert "(trials/0002/spec.json)" not in text


def test_plain_words_of_a_cell_are_those_of_its_pieces():
    assert "a b c" == plain(("a ", Code("b"), " ", Link("c", "d")))
