"""The plan, the rows and the live view as they are read, at 80 and at 200 columns."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from sweeper.core.files import write_json, write_text
from sweeper.core.finalists import Contest
from sweeper.core.folder import StudyFolder
from sweeper.core.memory.calibration import MemoryEstimate
from sweeper.core.outcome import Crashed, Infeasible, OutOfMemory, Stopped, TimedOut, Unsupported
from sweeper.core.standing import standing
from sweeper.terminal import Budget, RuledOut, State, StudyPlan, Terminal, next_steps
from sweeper.terminal.live_text import HINT, live_lines
from sweeper.terminal.plain import Plain, is_watched
from sweeper.terminal.plan_text import plan_text
from sweeper.terminal.rows import changes, head, plain_row, rows
from sweeper.terminal.screen import Screen
from sweeper.terminal.state import InHand, contest_began, ended, final_ended
from tests.recordings import MOMENTS, SIZES, recording
from tests.support import measured, trial_of

BASELINE = {"zero": "stage0", "offload": "none", "batch.micro_size": "1"}
BUSY = {"zero": "stage1", "offload": "optimizer", "batch.micro_size": "16"}
REASON = "the global batch of 4 is not a multiple of 8"
PLAN = StudyPlan(
    model="gpt2",
    num_parameters=124_439_808,
    ranks=2,
    accelerator="cpu",
    device="a CPU",
    memory_limit_bytes=12 * 2**30,
    global_batch_size=16,
    sequence_length=1024,
    parameters=("zero", "batch.micro_size"),
    space_size=360,
    ruled_out=RuledOut(
        num_points=360,
        is_sample=False,
        rules={"few": (1, "rare"), "batch": (120, REASON), "c": (50, "c!"), "d": (2, "d!")},
    ),
    budget=Budget(trials=8, seconds=3600.0, finalists=3, finalist_rounds=5),
    runner="warm",
    max_seconds=8.0,
)
OUTCOMES = [
    measured(9330.4, spread=0.4),
    measured(17561.2, peak_bytes=408 * 2**20),
    Stopped(measurement=measured(12297.0).measurement, reason="clearly beaten after 3 steps"),
    OutOfMemory(memory="host", phase="initialize", reason="no"),
    Crashed(reason=f"rank 0 in phase build: {'long ' * 60}", evidence="tb", exit_code=1),
    TimedOut(phase="warm-up", reason="not done after 600 s"),
    Infeasible(rule="optimizer-offload-needs-zero", reason="ZeRO is needed"),
    Unsupported(reason="no bf16"),
]


def widths(lines):
    return [sum(len(text) for text, _ in line) for line in lines]


def shown(state, *, now=12.0, width=80):
    return ["".join(text for text, _ in line) for line in live_lines(state, now, width)]


def in_study(**more):
    trials = [trial_of(n, o) for n, o in enumerate(OUTCOMES)]
    state = State(budget=PLAN.budget, baseline=BASELINE, **more)
    for trial in trials:
        state = ended(state, trial)
    return state


IN_HAND = InHand(
    title="trial 8",
    settings=changes(BUSY, BASELINE),
    began_at=7.0,
    phase="measure",
    step=4,
    steps=20,
    memory_bytes=387 * 2**20,
    predicted=MemoryEstimate(mean_bytes=391 * 2.0**20, deviation_bytes=10 * 2.0**20),
    limit_bytes=12 * 2**30,
)


def test_the_plan_says_model_hardware_batch_space_budget_and_time():
    lines = plan_text(PLAN, None).splitlines()
    assert "  model     gpt2, 124M parameters" == lines[0]
    assert "  hardware  2 ranks on the CPU (a CPU), 12.00 GiB of memory each" == lines[1]
    assert "  batch     16 samples of 1,024 tokens in every step, for every candidate" == lines[2]
    assert "  space     360 candidates: zero and batch.micro_size" == lines[3]
    assert "8 trials or 1 h, whichever is first; then the best 3 and the baseline" in lines[-2]
    assert lines[-1].startswith("  time      up to about 1 min of search and 3 min of finals;")


def test_the_plan_says_how_much_is_ruled_out_and_why_the_commonest_reasons_first():
    lines = plan_text(PLAN, None).splitlines()
    assert "            173 of 360 candidates are ruled out before they are run:" == lines[4]
    assert f"       120  batch, e.g. {REASON}" == lines[5]
    assert "        50  c, e.g. c!" == lines[6]
    assert "         2  d, e.g. d!" == lines[7]
    assert "         1  for 1 other reason; the report has them" == lines[8]


def test_of_a_space_too_large_to_look_through_a_sample_is_told_as_one():
    found = RuledOut(num_points=400, is_sample=True, rules={"batch": (100, REASON)})
    text = plan_text(replace(PLAN, space_size=None, ruled_out=found), None)
    assert "any number of candidates: zero" in text
    assert "100 of 400 drawn at random candidates are ruled out" in text


def test_what_is_not_known_is_left_out_of_the_plan():
    plan = replace(PLAN, num_parameters=None, memory_limit_bytes=None, sequence_length=None)
    lines = plan_text(plan, None).splitlines()
    assert "  model     gpt2" == lines[0]
    assert "  hardware  2 ranks on the CPU (a CPU)" == lines[1]
    assert "  batch     16 samples in every step, for every candidate" == lines[2]


def test_of_many_parameters_the_plan_names_a_few():
    plan = replace(PLAN, parameters=tuple(f"knob{n}" for n in range(30)))
    assert "knob0, knob1" in plan_text(plan, None)
    assert "knob6 and 23 more" in plan_text(plan, None)


@pytest.mark.parametrize("width", [80, 200])
def test_the_plan_fits_the_terminal(width):
    lines = plan_text(PLAN, width).splitlines()
    assert max(map(len, lines)) <= width
    assert all(line.startswith("  ") for line in lines)


@pytest.mark.parametrize("width", [80, 200])
def test_rows_fit_the_terminal_and_their_columns_are_aligned(width):
    columns = head(width)
    settings_at = columns.index("settings")
    for number, outcome in enumerate(OUTCOMES):
        first, *more = rows(
            trial_of(number, outcome), changes(BUSY, BASELINE), gain=1.88, width=width
        )
        assert max(map(len, [first, *more])) <= width
        assert first[settings_at:].startswith("zero=stage1")
        assert " " == first[settings_at - 1]
        assert number == int(first[:5])


def test_a_row_says_what_differs_from_the_baseline_and_wraps_it_below():
    assert ("zero=stage1",) == changes({**BASELINE, "zero": "stage1"}, BASELINE)
    assert ("baseline",) == changes(BASELINE, BASELINE)
    assert ("baseline",) == changes({}, {})
    assert ("zero=stage0",) == changes({"zero": "stage0"}, BASELINE)  # the rest does not act
    first, second = rows(trial_of(1, measured(9.0)), changes(BUSY, BASELINE), gain=None, width=80)
    assert first.endswith("  zero=stage1 offload=optimizer")
    assert second.strip() == "batch.micro_size=16"


def test_settings_that_do_not_fit_two_lines_end_in_an_ellipsis():
    many = tuple(f"zero.some_long_knob_{n}=100000" for n in range(9))
    lines = rows(trial_of(1, measured(9.0)), many, gain=None, width=80)
    assert 2 == len(lines)
    assert lines[-1].endswith("…")


def test_a_failure_has_its_reason_in_a_line_below():
    crash = trial_of(4, OUTCOMES[4])
    first, second = rows(crash, ("zero=stage1",), gain=None, width=80)
    assert "crashed" in first
    assert second.startswith("       rank 0 in phase build: long")
    assert second.endswith("…")


def test_a_wide_terminal_has_room_for_the_time_of_a_step():
    assert "step" not in head(80)
    assert "step" in head(200)
    (row,) = rows(trial_of(1, measured(1000.0)), ("baseline",), gain=None, width=200)
    assert "256 ms" in row


def test_what_is_not_a_terminal_gets_one_whole_line_for_each_trial():
    for number, outcome in enumerate(OUTCOMES):
        row = plain_row(trial_of(number, outcome), changes(BUSY, BASELINE), gain=1.5)
        assert "\n" not in row
        assert "…" not in row
        assert row.endswith("zero=stage1 offload=optimizer batch.micro_size=16")
    assert "long " * 60 in plain_row(trial_of(4, OUTCOMES[4]), ())


@pytest.mark.parametrize("width", [80, 200])
def test_the_live_view_fits_the_terminal(width):
    state = replace(in_study(), in_hand=IN_HAND)
    lines = live_lines(state, 12.0, width)
    assert max(widths(lines)) <= width
    assert len(lines) <= 9


def test_the_live_view_says_what_runs_what_is_best_and_what_is_left():
    state = replace(in_study(), in_hand=IN_HAND)
    text = shown(state)
    assert "now      trial 8, run 7 of 8  measure, step 4 of 20  5 s" == text[1]
    assert "         zero=stage1 offload=optimizer batch.micro_size=16" == text[2]
    assert "memory   387 MiB now, peak predicted 391 MiB ±20 MiB, limit 12.00 GiB" == text[3]
    assert "best     trial 1: 17,560 tokens/s, 408 MiB, 1.88 times the baseline" == text[4]
    assert text[5] == (
        "so far   2 measured, 1 beaten early, 1 out of memory, 1 timed out, 1 crashed, 1…"
    )
    assert "time     0:12 so far, about 20 s of search left, then up to 4 min of finals" == text[6]
    assert f"         {HINT}" == text[7]


def test_the_live_view_is_as_high_between_trials_so_that_nothing_jumps():
    state = in_study()
    assert len(shown(state)) == len(shown(replace(state, in_hand=IN_HAND)))
    assert "choosing the next trial" in shown(state)[1]


def test_a_notice_takes_the_place_of_the_hint():
    assert (
        "         stopping after this trial"
        == shown(in_study(notice="stopping after this trial"))[-1]
    )


def test_the_finals_are_shown_round_by_round_with_gaps_for_who_sat_out():
    contest = Contest(finalists=(1, 2), baseline=0, max_rounds=5)
    state = contest_began(in_study(), contest)
    for number, outcome in ((0, measured(100.0)), (1, measured(200.0)), (2, OUTCOMES[3])):
        state = final_ended(state, trial_of(number, outcome), 1)
    state = final_ended(state, trial_of(0, measured(101.0)), 2)
    state = replace(
        state,
        finals=replace(state.finals, round=2),
        in_hand=replace(IN_HAND, title="trial 1", predicted=None),
    )
    text = shown(state)
    assert "now      round 2 of at most 5, trial 1  measure, step 4 of 20  5 s" == text[1]
    assert "tokens/s baseline       100       101" == text[4].rstrip()
    assert "         trial 1        200" == text[5].rstrip()
    assert "         trial 2     failed" == text[6].rstrip()
    assert "of finals left" in text[-2]


def test_one_trial_alone_is_shown_without_a_study_around_it():
    text = shown(State(in_hand=replace(IN_HAND, title="trial 0")))
    assert "trial 0  measure, step 4 of 20  5 s" == text[0]
    assert 3 == len(text)


@pytest.mark.parametrize("width", [80, 200])
def test_a_study_on_a_screen_leaves_its_rows_and_no_view(width):
    console = Console(record=True, width=width, height=24, file=io.StringIO(), force_terminal=True)
    ticks = iter(range(1000))
    terminal = Terminal(Screen(console), clock=lambda: float(next(ticks)))
    terminal.plan(PLAN)
    with terminal.study(State(budget=PLAN.budget, baseline=BASELINE)):
        for number, outcome in enumerate(OUTCOMES):
            point = BASELINE if number == 0 else BUSY
            terminal.expect(number, point, predicted=None, limit_bytes=0)
            with terminal.trial_in_hand(number, ()) as watch:
                watch({"phase": "measure", "step": 1, "of": 3, "memory_bytes": 2**30})
            terminal.finished(trial_of(number, outcome, point=point))
    lines = console.export_text(styles=False).splitlines()
    assert len(OUTCOMES) - 1 == sum("  zero=stage1 offload=optimizer" in line for line in lines)
    assert 1 == sum("×1.88" in line for line in lines)
    after_the_view = console.file.getvalue().rpartition("\x1b[2K")[2]
    assert "" == after_the_view.strip()


def test_the_view_on_a_screen_is_drawn_with_what_is_known_then():
    console = Console(record=True, width=80, height=24, file=io.StringIO(), force_terminal=True)
    terminal = Terminal(Screen(console), clock=lambda: 0.0)
    with terminal.study(State(budget=PLAN.budget, baseline=BASELINE)):
        terminal.expect(3, BUSY, predicted=None, limit_bytes=0)
        with terminal.trial_in_hand(3, ()) as watch:
            watch({"phase": "warm-up", "step": 2, "of": 5})
            terminal.acknowledge("stopping after this trial")
            terminal.say("a line above")  # printing draws the view anew
    drawn = console.file.getvalue()
    assert "trial 3, run 1 of 8" in drawn
    assert "warm-up, step 2 of 5" in drawn
    assert "stopping after this trial" in drawn


def test_without_a_person_nothing_is_watched_and_nothing_drawn(capsys):
    terminal = Terminal(Plain())
    with terminal.study(State(budget=PLAN.budget)), terminal.trial_in_hand(0, ()) as watch:
        assert watch is None
    assert "" == capsys.readouterr().err


def test_what_a_terminal_would_obey_is_taken_out(capsys):
    evil = trial_of(0, Crashed(reason="\x1b[2J\x07\rgone\u202e", evidence="", exit_code=1))
    terminal = Terminal(Plain())
    with terminal.study(State(budget=PLAN.budget)):
        terminal.finished(evil)
    terminal.row(evil, ("a\x1b]0;title\x07",))
    terminal.say("\x1b[31mred")
    terminal.conclude("done\x1b[0m\nnext")
    captured = capsys.readouterr()
    text = captured.err + captured.out
    assert all(c.isprintable() or c == "\n" for c in text), repr(text)
    console = Console(width=80, file=io.StringIO(), force_terminal=True, color_system=None)
    Terminal(Screen(console)).row(evil, ())
    assert "\x1b[2J" not in console.file.getvalue()


class Stream(io.StringIO):
    def __init__(self, terminal):
        super().__init__()
        self._terminal = terminal

    def isatty(self):
        return self._terminal


@pytest.mark.parametrize(
    ("terminal", "environment", "watched"),
    [
        (True, {"TERM": "xterm"}, True),
        (True, {"TERM": "xterm", "CI": "false"}, True),
        (True, {"TERM": "xterm", "CI": "true"}, False),
        (True, {"TERM": "dumb"}, False),
        (True, {}, False),
        (False, {"TERM": "xterm", "FORCE_COLOR": "1"}, False),
    ],
)
def test_a_view_is_drawn_only_on_a_terminal_that_can_with_a_person_before_it(
    terminal, environment, watched
):
    assert watched == is_watched(Stream(terminal), environment)


def steps(
    *outcomes,
    tmp_path,
    interrupted=False,
    arguments=("+model=gpt2", "space=quick"),
    stop_reason="2 trials were run (n_trials=2)",
    nothing_left=False,
):
    trials = [trial_of(number, outcome) for number, outcome in enumerate(outcomes)]
    folder = StudyFolder(tmp_path / "a study")
    write_text(folder.bundle.launch, "")
    return next_steps(
        standing(trials),
        folder,
        arguments=arguments,
        interrupted=interrupted,
        stop_reason=None if interrupted else stop_reason,
        nothing_left=nothing_left,
        width=None,
    )


def test_a_winner_is_used_and_verified_later(tmp_path):
    text = steps(measured(1.0), measured(2.0), tmp_path=tmp_path)
    assert f"  use      '{tmp_path}/a study/best/launch.sh' your_script.py\n" in text
    assert f"python -m sweeper verify '{tmp_path}/a study'" in text


def test_a_winner_whose_files_could_not_be_written_is_not_said_to_be_started_by_them(tmp_path):
    folder = StudyFolder(tmp_path / "study")
    trials = [trial_of(0, measured(1.0)), trial_of(1, measured(2.0))]
    text = next_steps(
        standing(trials),
        folder,
        arguments=(),
        interrupted=False,
        stop_reason="the time is up (timeout=60 s)",
        nothing_left=False,
        width=None,
    )
    assert "launch.sh" not in text
    assert str(folder.report) in text


def test_the_winner_of_a_script_is_used_by_its_whole_command_in_its_own_folder(tmp_path):
    theirs = {
        "script.path": f"{tmp_path}/train.py",
        "script.folder": str(tmp_path),
        "script.args": "--deepspeed_config ds.json --batch {micro_batch}",
    }
    trials = [trial_of(0, measured(1.0)), trial_of(1, measured(2.0), **{"batch.micro_size": 4})]
    trials = [replace(t, settings={**t.settings, **theirs}) for t in trials]
    folder = StudyFolder(tmp_path / "study")
    seen = {"framework": None, "config_file": "ds.json", "config_in_code": False}
    write_json(folder.script, {"facts": seen})
    write_text(folder.bundle.launch, "")
    write_text(folder.bundle.ds_config, "{}")
    text = next_steps(
        standing(trials),
        folder,
        arguments=(),
        interrupted=False,
        stop_reason="the time is up (timeout=60 s)",
        nothing_left=False,
        width=40,
    )
    typed = "study/best/launch.sh train.py --deepspeed_config study/best/ds_config.json --batch 4"
    assert f"  in       {tmp_path}\n" in text
    assert f"  use      {typed}\n" in text, "in one line, however narrow the terminal is"


def test_where_the_baseline_won_one_may_look_on(tmp_path):
    text = steps(measured(2.0), measured(1.0), tmp_path=tmp_path)
    assert "your own options" in text
    assert "hydra.sweeper.n_trials=4" in text


@pytest.mark.parametrize(
    ("stop_reason", "typed"),
    [
        ("20 trials were run (n_trials=20)", "n_trials=40"),
        ("the time is up (timeout=90 s)", "timeout=180"),
        ("no improvement in 3 trials (patience=3)", "patience=6"),
    ],
)
def test_one_looks_on_with_more_of_what_ended_the_search(tmp_path, stop_reason, typed):
    text = steps(measured(2.0), measured(1.0), tmp_path=tmp_path, stop_reason=stop_reason)
    (line,) = [line for line in text.splitlines() if "look on" in line]
    assert "resume=" in line
    assert line.endswith(f"hydra.sweeper.{typed}")


ALL_TRIED = "every candidate of the space has been tried"


@pytest.mark.parametrize(
    ("space", "wider"),
    [
        (("space=quick",), "space=standard"),
        (("space=none", "zero=choice(stage0,stage1)"), "space=standard"),
        (("space=memory",), "space=full"),
        ((), "space=full"),
    ],
)
@pytest.mark.parametrize(
    "ended",
    [
        {"stop_reason": ALL_TRIED},
        {"stop_reason": "2 trials were run (n_trials=2)", "nothing_left": True},
    ],
)
def test_where_nothing_is_left_to_try_one_looks_on_in_a_wider_space(tmp_path, ended, space, wider):
    arguments = ("+model=gpt2", *space, "hydra.sweeper.n_trials=20", "hydra.sweep.dir=results/a")
    text = steps(measured(2.0), measured(1.0), tmp_path=tmp_path, arguments=arguments, **ended)
    (line,) = [line for line in text.splitlines() if "look on" in line]
    assert "n_trials=20" in line
    assert wider in line
    assert "warm_start=" in line
    assert not any(old in line for old in ("resume=", "space=quick", "hydra.sweep.dir"))


def test_of_the_widest_space_there_is_nothing_to_look_on_for(tmp_path):
    arguments = ("+model=gpt2", "space=full")
    text = steps(
        measured(2.0),
        measured(1.0),
        tmp_path=tmp_path,
        arguments=arguments,
        stop_reason=ALL_TRIED,
    )
    assert "look on" not in text


def test_a_study_that_was_interrupted_can_go_on(tmp_path):
    text = steps(measured(1.0), tmp_path=tmp_path, interrupted=True)
    assert f"go on    python -m sweeper 'resume={tmp_path}/a study'" in text.splitlines()[1]


@pytest.mark.parametrize(
    ("outcome", "typed"),
    [
        (OUTCOMES[3], "python -m sweeper +model=gpt2 space=memory"),
        (OUTCOMES[3], "python -m sweeper explain +model=gpt2"),
        (OUTCOMES[6], "python -m sweeper explain +model=gpt2"),
        (OUTCOMES[7], "python -m sweeper doctor"),
        (OUTCOMES[4], "trials/0000/stderr.log"),
        (OUTCOMES[5], "launch.timeout_seconds="),
    ],
)
def test_where_nothing_was_measured_the_next_command_follows_from_why(tmp_path, outcome, typed):
    assert typed in steps(outcome, tmp_path=tmp_path)


def test_a_script_is_not_explained_since_its_needs_are_not_known(tmp_path):
    arguments = ("+model=script", "script.path='/x/train.py'")
    assert "explain" not in steps(OUTCOMES[3], tmp_path=tmp_path, arguments=arguments)


@pytest.mark.parametrize(("columns", "rows"), SIZES)
def test_the_recordings_are_of_the_program_as_it_is(columns, rows):
    text = recording(columns, rows).read_text(encoding="utf-8")
    assert HINT in text
    assert all(f"== {what} =" in text and until in text for what, until in MOMENTS)
    assert all(len(line) <= columns for line in text.splitlines())
