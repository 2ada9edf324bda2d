"""The report of a fresh study of real trials, as a reader meets it."""

import pytest

from sweeper.core.folder import StudyFolder
from tests.support import run_sweeper

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def study(chromium, tmp_path_factory):
    """Run only where there is a browser to open its report."""
    place = tmp_path_factory.mktemp("real")
    folder = StudyFolder(place / "study")
    done = run_sweeper(
        "+model=gpt2-nano",
        "hydra/sweeper=optuna",
        "hydra.sweeper.n_trials=4",
        "hydra.sweeper.finalists=2",
        "hydra.sweeper.finalist_rounds=3",
        "measure=quick",
        f"hydra.sweep.dir={folder.path}",
        cwd=place,
        timeout=380,
    )
    assert 0 == done.returncode, done.stderr
    return done, folder


def test_the_last_lines_of_a_study_name_its_report(study):
    done, folder = study
    assert f"report: {folder.report_html}" in done.stdout


def test_the_report_of_a_fresh_study_opens_and_has_the_winners_config_to_copy(study, open_report):
    _, folder = study
    opened = open_report(folder.report_html)
    assert [] == opened.troubles
    assert [folder.report_html.resolve().as_uri()] == opened.requests
    assert len(folder.read_trials()) == len(opened.rows())
    opened.page.get_by_role("button", name="Copy: best/ds_config.json").click()
    opened.page.get_by_role("status").filter(has_text="Copied").wait_for()
    copied = opened.page.evaluate("navigator.clipboard.readText()")
    assert folder.best_ds_config.read_text() == copied
    assert opened.page.get_by_text("95 % interval").first.is_visible()
