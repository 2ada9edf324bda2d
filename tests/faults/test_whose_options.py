"""Trial 0 is the user's own options, or nobody is told that it is."""

import textwrap

import pytest

from sweeper.core.folder import StudyFolder
from tests.faults.studies import NEW, finish, start

pytestmark = pytest.mark.timeout(420)

HOOK = """
def more(config, trial):
    trial.suggest_categorical("batch.micro_size", [2, 4])
"""


def test_a_hook_adds_nothing_to_the_users_own_options(tmp_path):
    (tmp_path / "hooks.py").write_text(textwrap.dedent(HOOK))
    out, _ = finish(
        start(
            tmp_path,
            *NEW,
            *("space=none", "zero=choice(stage0,stage3)", "hydra.sweeper.n_trials=3"),
            "hydra.sweeper.custom_search_space=hooks.more",
        )
    )
    own, *others = StudyFolder(tmp_path / "a study").read_trials()
    assert {"zero": "stage0"} == own.point
    assert 1 == own.settings["batch.micro_size"]
    assert {2, 4} >= {t.settings["batch.micro_size"] for t in others if len(t.point) > 1}
    assert [t for t in others if len(t.point) > 1]
    assert "your own options (trial 0)" in out


def test_the_first_point_of_a_grid_is_called_what_it_is(tmp_path):
    out, _ = finish(
        start(
            tmp_path,
            *("-m", "+model=gpt2-nano", "workload.global_batch_size=16"),
            *("batch.micro_size=4,2", "hydra.sweep.dir=grid"),
        )
    )
    said = out + (tmp_path / "grid" / "report.md").read_text()
    assert "the grid's first point (trial 0) was the fastest of 2 measured" in said
    assert "what is called the baseline here is its first point, trial 0" in said
    assert "your own options" not in said
    assert "nothing was changed" not in said


@pytest.mark.parametrize(
    "found",
    ["--config-dir={}", pytest.param("hydra.searchpath=[file://{}]", marks=pytest.mark.slow)],
)
def test_a_sweeper_that_a_file_chooses_is_a_study_that_goes_on(tmp_path, found):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "small.yaml").write_text(
        textwrap.dedent("""\
            # @package _global_
            defaults:
              - override /hydra/sweeper: optuna
              - override /space: none
            hydra:
              sweeper:
                n_trials: 1
                finalists: 0
                params:
                  batch.micro_size: choice(1,2,4)
            """)
    )
    where = found.format(tmp_path / "mine")
    typed = [where, "+experiment=small", "+model=gpt2-nano", "hydra.sweep.dir=st"]
    finish(start(tmp_path, *typed))
    folder = StudyFolder(tmp_path / "st")
    assert 1 == len(folder.read_trials())
    finish(start(tmp_path, "resume=st", "hydra.sweeper.n_trials=2"))
    own, other = (t.point["batch.micro_size"] for t in folder.read_trials())
    assert "1" == own
    assert other in ("2", "4")
