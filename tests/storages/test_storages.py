"""Studies in real databases, two at once; and where their passwords do not go."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
import yaml

from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import Infeasible
from sweeper.search.optuna_study import load_study
from tests.faults import studies
from tests.faults.studies import NEW, start
from tests.storages.servers import PASSWORD, mysql, postgresql, program

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

# What it needs of the system, and of Python, and the packages that bring them.
NEEDS = {
    "postgresql": (("initdb", "postgres"), "psycopg2", "postgresql", postgresql),
    "mysql": (("mariadb-install-db", "mariadbd"), "pymysql", "mariadb-server", mysql),
}


@pytest.fixture(scope="module", params=["postgresql", "mysql", "sqlite"])
def url(request, tmp_path_factory):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('sqlite')}/studies.db"
        return
    programs, driver, package, server = NEEDS[request.param]
    if missing := [name for name in programs if program(name) is None]:
        pytest.skip(f"no {' and no '.join(missing)}: type apt-get install {package}")
    if importlib.util.find_spec(driver) is None:
        pytest.skip(f"no {driver}: type pip install -e '.[dev]'")
    place = Path("/tmp") / f"sweeper-{request.param}-{tmp_path_factory.getbasetemp().name}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    try:
        with server(place) as found:
            yield found
    finally:
        shutil.rmtree(place, ignore_errors=True)


def finish(process, *, code=0):
    return studies.finish(process, code=code, timeout=400)


def new(name, *more):
    arguments = [a for a in NEW if not a.startswith("hydra.sweep.dir")]
    return [*arguments, f"hydra.sweep.dir={name}", "hydra.sweeper.n_trials=3", *more]


def check_recorded(url, folder):
    """Each trial once, none left running."""
    study = load_study(url, folder.journal, folder.name)
    told = sorted(t.user_attrs["trial"] for t in study.trials if "trial" in t.user_attrs)
    assert [trial.number for trial in folder.read_trials()] == told
    assert not [t for t in study.trials if not t.state.is_finished()]


def test_two_studies_at_once_keep_to_themselves_and_no_file_has_the_password(url, tmp_path):
    stored = "hydra.sweeper.storage=${oc.env:DB}"
    both = [start(tmp_path, *new(name, stored), DB=url) for name in ("one", "two")]
    for process in both:
        out, err = finish(process)
        assert PASSWORD not in out + err
    folders = [StudyFolder(tmp_path / name) for name in ("one", "two")]
    for folder in folders:
        assert "${oc.env:DB}" == yaml.safe_load(folder.study.read_text())["storage"]
        assert 3 == sum(not isinstance(t.outcome, Infeasible) for t in folder.read_trials())
        check_recorded(url, folder)
    # Both go on at once, from the same words.
    both = [
        start(tmp_path, f"resume={n}", "hydra.sweeper.n_trials=5", DB=url) for n in ("one", "two")
    ]
    for process in both:
        finish(process)
    for folder in folders:
        assert 5 == sum(not isinstance(t.outcome, Infeasible) for t in folder.read_trials())
        check_recorded(url, folder)
    check_no_password(tmp_path)
    # Another work under the same name is refused, and told without the password.
    shutil.move(folders[0].path, tmp_path / "elsewhere")
    _, err = finish(
        start(tmp_path, *new("one", stored), "workload.sequence_length=16", DB=url), code=2
    )
    assert "workload.sequence_length was 32, is 16" in err
    assert PASSWORD not in err


def test_a_password_that_was_typed_is_written_nowhere_and_asked_for_again(url, tmp_path):
    if PASSWORD not in url:
        pytest.skip("a file has no password")
    literal = f"hydra.sweeper.storage='{url}'"
    out, err = finish(start(tmp_path, *new("three", literal)))
    assert PASSWORD not in out + err
    check_no_password(tmp_path)
    folder = StudyFolder(tmp_path / "three")
    assert "sweeper:***@127.0.0.1" in folder.study.read_text()
    study = load_study(url, folder.journal, "three")
    attributes = study._storage.get_study_system_attrs(study._study_id)
    assert any(name.startswith("dashboard:") for name in attributes)  # the notes were written
    _, err = finish(start(tmp_path, "resume=three"), code=2)
    assert "sweeper: resume=three: the password of hydra.sweeper.storage=" in err
    assert "is kept nowhere; type resume=three 'hydra.sweeper.storage=<the URL" in err
    finish(start(tmp_path, "resume=three", literal, "hydra.sweeper.n_trials=4"))
    check_recorded(url, folder)
    check_no_password(tmp_path)


def check_no_password(place):
    having = [
        str(path)
        for path in place.rglob("*")
        if path.is_file() and PASSWORD.encode() in path.read_bytes()
    ]
    assert [] == having
