"""Comparisons of studies as a reader meets them: nothing is cut off or left without a name on a phone."""

from dataclasses import replace

import pytest

from sweeper.core.outcome import OutOfMemory
from sweeper.report.comparison_page import compare_studies
from tests.browser.conftest import DESKTOP, PHONE
from tests.recorded import at, recorded
from tests.support import measured

LONG = "study_" + "n" * 194
DEVICE = "a processor whose makers gave it a very long name, and all of it is told"


def trials(rate, device):
    found = [at(0, measured(rate)), at(1, measured(2 * rate), **{"zero.stage": 1})]
    return [replace(t, environment={"device": device, "torch": "2.13.0"}) for t in found]


@pytest.fixture
def comparison(tmp_path):
    """Of two studies of these names, which differ in much."""

    def written(*names):
        first = trials(100.0, "a CPU")
        out = OutOfMemory(
            memory="host", phase="build", reason="asked for 3 GiB of which 2 are left"
        )
        first.append(at(2, measured(90.0), **{"zero.stage": 2}))
        second = [*trials(120.0, DEVICE), at(2, out, **{"zero.stage": 2})]
        for place, name, made in zip("ab", names, (first, second), strict=True):
            recorded(tmp_path / place, made, study_name=name, space={"zero.stage": ["0", "1", "2"]})
        page = tmp_path / "c.html"
        compare_studies([str(tmp_path / place) for place in "ab"], output=str(page))
        return page

    return written


def test_every_cell_of_a_study_has_the_name_of_the_study_above_or_beside_it(
    comparison, open_report
):
    page = open_report(comparison("before", "after"), viewport=PHONE).page
    assert page.get_by_text(DEVICE).first.is_visible()
    for study in ("before", "after"):
        cells = page.locator(f'.stacked td[data-label="{study}"]')
        assert cells.count()
        for cell in cells.all():
            shown = cell.evaluate("cell => getComputedStyle(cell, '::before').content")
            assert f'"{study}"' == shown or not cell.inner_text()


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_a_page_of_studies_with_long_names_is_as_wide_as_its_screen(
    viewport, comparison, open_report
):
    page = open_report(comparison(LONG, f"{LONG[:-1]}2"), viewport=viewport).page
    wide = "document.documentElement.scrollWidth - window.innerWidth"
    assert page.evaluate(wide) <= 0
    if viewport is PHONE:
        boxes = page.locator(".scroll.narrow, .scroll.stacked")
        assert all(boxes.evaluate_all("all => all.map(box => box.scrollWidth <= box.clientWidth)"))
