"""A study's folder may have any name: what is printed for it can be pasted."""

import re
import shlex
from pathlib import Path

import pytest

from sweeper.core.commands import typed
from sweeper.core.folder import StudyFolder
from sweeper.core.hydra_text import override
from sweeper.report.build import build_report
from sweeper.report.export import export
from tests.faults.studies import check_whole, finish, start

pytestmark = pytest.mark.timeout(420)

# Several folders in one another, as each study takes its time.
NAMES = [
    "it's Anna's/the \"best\" one/lr, wd, bs/lr=1e-3",
    "[draft] {2}/=/(a) choice(1,2)/back\\slash",
    "007/прогон 研究 تجربة ünïcode/#1 100% a&b;c*?!`~/ {HOME} and $HOME ",
]


def pasted(line):
    """The words behind ``python -m sweeper``, as a shell splits them."""
    python, m, sweeper, *words = shlex.split(line)
    assert ("python", "-m", "sweeper") == (python, m, sweeper)
    return words


@pytest.mark.parametrize(
    "name", [NAMES[0], *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES[1:])]
)
def test_a_study_goes_on_is_reported_and_exported_under_any_name(tmp_path, monkeypatch, name):
    begun = typed(
        *("+model=gpt2-nano", "hydra/sweeper=optuna", "space=none"),
        *("batch.micro_size=choice(1,2,4)", "hydra.sweeper.finalists=0"),
        *("hydra.sweeper.n_trials=1", override("hydra.sweep.dir", name)),
    )
    out, _ = finish(start(tmp_path, *pasted(begun)))
    top = name.partition("/")[0]
    assert [top] == sorted({p.name for p in tmp_path.iterdir()} - {"cache", "runs.log"})
    (look_on,) = re.findall(r"^ *look on +(python -m sweeper .*)$", out, re.MULTILINE)
    finish(start(tmp_path, *pasted(look_on)))
    check_whole(StudyFolder(tmp_path / name), tmp_path, num_run=2)
    monkeypatch.chdir(tmp_path)
    folder = StudyFolder(Path(name))
    assert f"report: {folder.path}" in build_report(folder)
    for text in (folder.report.read_text(), export(name, name="all", to=None, force=False)):
        for line in re.findall(r"python -m sweeper (?:verify|resume=).*", text):
            assert name in " ".join(pasted(line))
    out, _ = finish(start(tmp_path, *pasted(typed("verify", name))))
    assert "nothing to verify" in out
