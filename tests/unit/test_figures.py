import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from sweeper.core.finalists import Contest, judge
from sweeper.core.objective import Objective
from sweeper.core.outcome import Crashed, OutOfMemory, Stopped
from sweeper.core.prediction import Prediction
from sweeper.core.standing import standing
from sweeper.report import figures
from sweeper.report.figures import draw_figures, frame
from sweeper.report.figures.frame import INK
from tests.support import measured, trial_of

GIB = 2**30


def trials_of(count):
    """A grid of stage and micro-batch, over and over, a little different each time."""
    return [
        trial_of(
            n,
            measured(1000.0 * (1 + n % 7) + n, peak_bytes=GIB * (1 + n % 5) + n),
            **{"zero.stage": n % 3, "batch.micro_size": 2 ** (n % 4), "launch.omp_threads": 1 + n},
        )
        for n in range(count)
    ]


SEVERAL = trials_of(9)
PREDICTIONS = {
    t.number: Prediction(
        peak_bytes=int(1.1 * t.outcome.measurement.peak_bytes), deviation_bytes=GIB // 10
    )
    for t in SEVERAL
}


def finals_of(numbers, *, baseline=0):
    contest = Contest(finalists=numbers, baseline=baseline)
    rates = {n: 1000.0 * (1 + n) for n in contest.entrants}
    return judge(contest, [{n: measured(r + k) for n, r in rates.items()} for k in range(3)])


def draw(folder, trials, *, explained=None, predictions=None, **how):
    drawn = draw_figures(
        standing(trials, **how),
        folder,
        explained_by=explained or {},
        predictions=predictions or {},
    )
    return {figure.png.stem: figure for figure in drawn}


def draw_all(folder):
    return draw(
        folder,
        SEVERAL,
        explained={"zero": 0.7, "batch.micro_size": 0.3},
        predictions=PREDICTIONS,
        finals=finals_of((6, 5)),
    )


@pytest.fixture(scope="module")
def drawn_all(tmp_path_factory):
    return draw_all(tmp_path_factory.mktemp("all"))


def test_every_picture_is_a_png_and_an_svg_with_words(drawn_all):
    drawn = drawn_all
    assert {
        *("throughput_memory", "finalists", "best_so_far", "parallel_coordinates"),
        *("throughput_stage_micro_batch", "explained", "predicted_memory", "losses"),
    } == set(drawn)
    for figure in drawn.values():
        assert figure.png.read_bytes().startswith(b"\x89PNG")
        root = ElementTree.fromstring(figure.svg.read_text())
        assert figure.alt == root.get("aria-label")
        assert len(figure.alt) > 40


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("throughput_memory", "trial 6 with 7,006 tokens/s at 2.00 GiB"),
        (
            "finalists",
            "trial 6 (winner): 7,000 to 7,002 tokens/s in 3 rounds, 7,001 in the mean, 6.9",
        ),
        ("best_so_far", "begins with 1,000 tokens/s in trial 0 and reaches its last, 7,006"),
        ("parallel_coordinates", "trial 6, has zero.stage 0, batch.micro_size 4"),
        ("throughput_stage_micro_batch", "at most 7,006 tokens/s, with ZeRO 0 and a micro-batch"),
        (
            "explained",
            "variance of the logarithm of tokens/s that lies between an option's values, most first: "
            "zero 70%, batch.micro_size 30%.",
        ),
        ("predicted_memory", "off by 10.0% on average, and by 10.0% at most"),
        ("losses", "from 6.2 to 5.9 in 4 optimizer steps. 8 trials stay within 0% of it"),
    ],
)
def test_the_words_have_the_main_numbers(drawn_all, name, said):
    assert said in drawn_all[name].alt


def test_who_trains_differently_and_who_was_stopped_are_not_on_the_front(tmp_path):
    other = measured(9000.0, losses=(6.2, 5.0, 4.0, 3.0))
    early = Stopped(measurement=measured(8500.0).measurement, reason="clearly beaten")
    drawn = draw(tmp_path, [*SEVERAL, trial_of(9, other), trial_of(10, early)])
    alt, svg = drawn["throughput_memory"].alt, drawn["throughput_memory"].svg.read_text()
    front = alt.partition("The Pareto front of those measured to the end")[2]
    assert "trial 6 with" in front
    assert not re.search(r"trial (9|10) with", front)
    assert "Crossed out, since it trains differently: 1 trial." in alt
    assert "trains differently: cannot win" in svg
    assert "stopped early: an estimate" in svg
    assert "Without 1 trial that trains differently." in drawn["throughput_stage_micro_batch"].alt
    assert "at most 8,500" in drawn["throughput_stage_micro_batch"].alt


def test_without_one_that_trains_differently_there_is_no_mark_for_it(drawn_all):
    assert "trains differently" not in drawn_all["throughput_memory"].svg.read_text()


def test_the_same_facts_give_the_same_bytes(drawn_all, tmp_path):
    second = draw_all(tmp_path)
    for name, figure in drawn_all.items():
        assert figure.svg.read_bytes() == second[name].svg.read_bytes(), name
        assert figure.png.read_bytes() == second[name].png.read_bytes(), name


def test_svgs_can_stand_in_one_page_and_take_the_colour_of_its_text(drawn_all):
    texts = [figure.svg.read_text() for figure in drawn_all.values()]
    names = [name for text in texts for name in re.findall(r' id="([^"]+)"', text)]
    assert len(names) == len(set(names))
    for text in texts:
        inside = text[text.index(">") :]
        assert INK not in inside
        assert "currentColor" in inside
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', inside)) <= set(names)


def test_text_stays_text_whatever_it_says(tmp_path):
    drawn = draw(tmp_path, SEVERAL, explained={"ds.$x^2$ <script>&": 0.6, "zero": 0.4})
    root = ElementTree.fromstring(drawn["explained"].svg.read_text())
    assert "ds.$x^2$ <script>&" in "".join(root.itertext())


def test_names_that_are_long_are_broken_and_not_cut(tmp_path):
    name = "ds.zero_optimization.some_very_long_key_of_somebody"
    trials = [
        replace(t, settings={**t.settings, name: t.number, "ds.other": t.number % 2})
        for t in SEVERAL
    ]
    svg = draw(tmp_path, trials)["parallel_coordinates"].svg.read_text()
    assert name in "".join(re.sub(r"<[^>]*>|\s", "", svg))


def test_a_study_of_one_trial_has_the_pictures_that_one_trial_can_fill(tmp_path):
    drawn = draw(tmp_path, SEVERAL[:1])
    assert {"throughput_memory", "losses"} == set(drawn)
    assert "One measured trial" in drawn["throughput_memory"].alt


def test_failures_alone_give_no_picture_but_of_what_was_predicted(tmp_path):
    crashed = [trial_of(n, Crashed(reason="x", evidence="", exit_code=1)) for n in range(3)]
    assert {} == draw(tmp_path, crashed)
    out = [
        trial_of(n, OutOfMemory(memory="host", phase="build", reason="x"), **{"zero.stage": n})
        for n in range(2)
    ]
    predictions = {
        n: Prediction(peak_bytes=(10 + 10 * n) * GIB, deviation_bytes=GIB) for n in (0, 1)
    }
    drawn = draw(tmp_path, out, predictions=predictions)
    assert ["predicted_memory"] == [*drawn]
    assert (
        "Of 2 trials that ran out of memory, 1 had been predicted" in drawn["predicted_memory"].alt
    )


def test_what_is_drawn_no_more_is_taken_away(tmp_path):
    (tmp_path / "finalists.png").touch()
    draw(tmp_path, SEVERAL[:1])
    assert not (tmp_path / "finalists.png").exists()
    assert (tmp_path / "losses.svg").exists()


def test_a_thousand_trials_are_pixels_with_a_few_numbers_on_them(tmp_path):
    drawn = draw(tmp_path, trials_of(1000))
    for name in ("throughput_memory", "parallel_coordinates", "best_so_far"):
        text = drawn[name].svg.read_text()
        assert "<image" in text, name
        assert text.count("<use") + text.count("<path") < 400, name
        assert text.count("<text") < 100, name


def test_a_trial_that_trains_differently_is_never_the_best_so_far(tmp_path):
    other = measured(9000.0, losses=(6.2, 5.0, 4.0, 3.0))
    trials = [trial_of(0, measured(1000.0)), trial_of(1, other, **{"zero.stage": 1})]
    drawn = draw(tmp_path, trials)
    assert "stays there" in drawn["best_so_far"].alt
    assert "differ: trial 1 by 49%" in drawn["losses"].alt


def test_a_stopped_trial_is_an_estimate_in_the_picture_and_not_the_best(tmp_path):
    stopped = Stopped(measurement=measured(5000.0).measurement, reason="clearly beaten")
    drawn = draw(tmp_path, [trial_of(0, measured(1000.0)), trial_of(1, stopped)])
    assert "stopped early: an estimate" in drawn["best_so_far"].svg.read_text()
    assert "begins with 1,000 tokens/s in trial 0, and stays there" in drawn["best_so_far"].alt


def test_the_best_so_far_is_in_the_unit_that_the_study_was_after(tmp_path):
    least = Objective(kind="memory", target_tokens=1e9, throughput_floor=100.0)
    drawn = draw(tmp_path, SEVERAL, objective=least)
    assert "GiB" in drawn["best_so_far"].alt
    assert 1 == drawn["best_so_far"].svg.read_text().count("peak memory of the fullest rank (GiB)")
    hours = Objective(kind="time_to_target", target_tokens=1e9)
    assert "hours for 1e+09 tokens" in draw(tmp_path, SEVERAL, objective=hours)["best_so_far"].alt


def test_memory_below_a_gibibyte_is_drawn_in_mebibytes_and_nothing_is_cut(tmp_path, monkeypatch):
    kept = {}
    save = frame.save
    monkeypatch.setattr(figures, "save", lambda p, f: kept.setdefault(p.name, p) and save(p, f))
    trials = [
        trial_of(n, measured(1000.0, peak_bytes=(389 - n) * 2**20), **{"zero.stage": n})
        for n in range(4)
    ]
    least = Objective(kind="memory", target_tokens=1e9)
    drawn = draw(tmp_path, trials, objective=least)
    assert "peak memory of the fullest rank (MiB)" in drawn["best_so_far"].svg.read_text()
    assert "begins with 389 MiB in trial 0" in drawn["best_so_far"].alt
    for axes in kept["best_so_far"].canvas.axes:
        low, high = axes.get_ylim()
        assert (0, True) == (low, 1.05 * 389 < high < 1.5 * 389)


def test_a_single_other_trial_stays_near_in_the_singular(tmp_path):
    assert "1 trial stays within 0% of it." in draw(tmp_path, SEVERAL[:2])["losses"].alt


def test_a_losing_start_of_the_study_is_shown_by_its_time(tmp_path):
    slow = [replace(t, wall_seconds=3600.0) for t in SEVERAL]
    assert "which took 9 hours" in draw(tmp_path, slow)["best_so_far"].alt
