"""Reports as a reader meets them: opened from disk in a browser."""

import re

import pytest

from sweeper.core.visible import visible
from tests.browser.conftest import PHONE
from tests.browser.studies import EVIL, STUDIES

_NOT_ALLOWED = """
navigator.clipboard.writeText = () => Promise.reject(new Error("not allowed"));
document.execCommand = () => false;
"""


@pytest.mark.parametrize("name", STUDIES)
def test_a_report_opens_without_an_error_and_asks_for_nothing(name, reports, open_report):
    opened = open_report(reports(name))
    opened.page.wait_for_timeout(200)
    assert [] == opened.troubles
    assert [reports(name).resolve().as_uri()] == opened.requests
    assert opened.page.locator("#answer .callout").inner_text()


@pytest.mark.parametrize("name", STUDIES)
def test_a_page_fits_a_phone_and_only_tables_and_pictures_scroll(name, reports, open_report):
    opened = open_report(reports(name), viewport=PHONE)
    wide = "document.documentElement.scrollWidth - window.innerWidth"
    assert opened.page.evaluate(wide) <= 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["full", "failed", "single", "hostile"])
def test_axe_finds_nothing_to_complain_of(name, scheme, reports, open_report, axe):
    opened = open_report(reports(name), color_scheme=scheme, bypass_csp=True)
    opened.page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    opened.page.add_script_tag(content=axe)
    found = opened.page.evaluate("axe.run()")
    said = [(v["id"], [n["html"][:200] for n in v["nodes"][:3]]) for v in found["violations"]]
    assert [] == said
    assert "color-contrast" in {rule["id"] for rule in found["passes"]}


def test_names_stay_names_in_the_page(reports, open_report):
    opened = open_report(reports("hostile"))
    page = opened.page
    assert visible(EVIL) == page.locator("h1").text_content()
    assert 0 == page.locator("img[src='x']").count()
    assert 0 == page.locator("main b").count()
    assert 0 == page.locator("a[href^='javascript']").count()
    assert 2 == page.locator("script").count()  # ours, and the data
    assert page.locator("#explorer").is_visible()


def test_the_table_sorts_by_a_column_either_way_with_the_keyboard(reports, open_report):
    opened = open_report(reports("small"))
    assert "2" == opened.rows()[0]  # the fastest first
    header = opened.page.locator("th[data-column='memory']")
    header.locator("button").focus()
    opened.page.keyboard.press("Enter")
    assert "ascending" == header.get_attribute("aria-sort")
    up = opened.rows()
    opened.page.keyboard.press("Enter")
    assert "descending" == header.get_attribute("aria-sort")
    assert 1 == opened.page.locator("table.trials [aria-sort]").count()
    measured_rows, rest = up[:-4], up[-4:]
    assert rest == opened.rows()[-4:]  # what has no number comes last either way
    assert "2" == opened.rows()[0] == measured_rows[-1]


def test_a_filter_acts_on_the_table_and_both_pictures(reports, open_report):
    opened = open_report(reports("small"))
    page = opened.page
    assert re.match("9 of 9 trials shown; 4 without a number", page.locator(".status").inner_text())
    page.get_by_label("batch.micro_size", exact=True).select_option("4")
    assert {"1", "2", "3"} == set(opened.rows())
    assert "3 of 9 trials shown" == page.locator(".status").inner_text()
    assert 2 == page.locator(".dot.out").count()
    assert 6 == page.locator(".parallel .line.out").count()
    page.get_by_label("tokens/s, from").fill("120")
    assert {"1", "2"} == set(opened.rows())
    page.get_by_role("button", name="Reset").click()
    assert 9 == len(opened.rows())
    assert 0 == page.locator(".out").count()


def test_a_value_on_an_axis_filters_and_sets_the_field(reports, open_report):
    opened = open_report(reports("small"))
    page = opened.page
    page.locator(".parallel text.pick", has_text="cpu").click()
    assert {"3", "7"} == set(opened.rows())
    assert "cpu" == page.get_by_label("offload.optimizer", exact=True).input_value()
    page.locator(".parallel text.pick", has_text="cpu").click()
    assert 9 == len(opened.rows())


def test_dragging_along_an_axis_of_numbers_filters(reports, open_report):
    opened = open_report(reports("small"))
    page = opened.page
    page.locator(".parallel").scroll_into_view_if_needed()
    box = page.locator(".parallel .grip").last.bounding_box()
    middle = box["x"] + box["width"] / 2
    page.mouse.move(middle, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(middle, box["y"] + box["height"] * 0.5, steps=5)
    page.mouse.up()
    assert ["2"] == opened.rows()
    assert 1 == page.locator(".brush").count()


def test_a_trial_that_is_pointed_at_or_kept_is_marked_everywhere(reports, open_report):
    opened = open_report(reports("small"))
    page = opened.page
    page.locator("tr[data-trial='4']").hover()
    assert page.locator(".details").inner_text().startswith("Trial 4, 155 ± ")
    assert 3 == page.locator(".scatter .ring").count()  # it, the winner and the baseline
    assert 3 == page.locator(".over .line:not(.casing)").count()
    page.mouse.move(5, 5)
    assert 2 == page.locator(".scatter .ring").count()
    keep = page.locator("tr[data-trial='4'] button.keep")
    keep.focus()
    page.keyboard.press("Enter")
    assert "true" == keep.get_attribute("aria-pressed")
    page.mouse.move(5, 5)
    assert 3 == page.locator(".scatter .ring").count()


def test_a_click_on_a_point_keeps_the_trial_in_the_table(reports, open_report):
    opened = open_report(reports("small"))
    page = opened.page
    page.locator(".scatter .dot").nth(1).scroll_into_view_if_needed()
    box = page.locator(".scatter .dot").nth(1).bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert "1" == page.locator("tr.kept").get_attribute("data-trial")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_winners_config_is_copied_as_it_is(scheme, reports, open_report):
    opened = open_report(reports("small"), color_scheme=scheme)
    page = opened.page
    page.get_by_role("button", name="Copy: best/ds_config.json").click()
    page.get_by_role("status").filter(has_text="Copied").wait_for()  # read aloud
    copied = page.evaluate("navigator.clipboard.readText()")
    assert (reports("small").parent / "best" / "ds_config.json").read_text() == copied


def test_what_may_not_be_copied_is_left_selected_and_said(reports, open_report):
    opened = open_report(reports("small"), init_script=_NOT_ALLOWED)
    page = opened.page
    button = page.get_by_role("button", name="Copy: best/ds_config.json")
    button.click()
    page.get_by_role("status").filter(has_text="press Ctrl+C").wait_for()
    assert "Press Ctrl+C" == button.inner_text()
    config = (reports("small").parent / "best" / "ds_config.json").read_text()
    assert config.strip() == page.evaluate("getSelection().toString()").strip()
    page.keyboard.press("Control+C")
    assert config.strip() == page.evaluate("navigator.clipboard.readText()").strip()


def test_an_old_browser_copies_by_selection(reports, open_report):
    opened = open_report(reports("small"), init_script="navigator.clipboard.writeText = undefined")
    page = opened.page
    page.get_by_role("button", name="Copy: best/ds_config.json").click()
    page.get_by_role("status").filter(has_text="Copied").wait_for()
    config = (reports("small").parent / "best" / "ds_config.json").read_text()
    assert config == page.evaluate("navigator.clipboard.readText()")
    assert "" == page.evaluate("getSelection().toString()")


def test_every_link_leads_into_the_page_or_to_a_file_of_the_study(reports, open_report):
    opened = open_report(reports("small"))
    links = opened.page.locator("a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert len(links) > 30
    root = reports("small").parent
    for link in links:
        if link.startswith("#"):
            assert 1 == opened.page.locator(link).count(), link
        else:
            assert (root / link).exists(), link


def test_a_thousand_trials_stay_one_pass_over_each_of_them(reports, open_report):
    """No seconds, which depend on the machine: what grows with the trials is counted."""
    opened = open_report(reports("crowd"))
    page = opened.page
    assert 1000 == len(opened.rows())
    page.evaluate(
        """() => {
            window.changes = 0;
            new MutationObserver(found => (window.changes += found.length)).observe(
                document.getElementById("explorer"),
                {subtree: true, childList: true, attributes: true, characterData: true});
        }"""
    )
    page.locator("tr[data-trial]").nth(5).hover()
    assert page.evaluate("window.changes") < 30  # pointing redraws the marks alone
    page.get_by_label("batch.micro_size", exact=True).select_option("8")
    assert page.evaluate("window.changes") < 4000
    assert 0 < len(opened.rows()) < 1000


def test_without_scripts_all_that_is_said_is_there(reports, open_report):
    opened = open_report(reports("small"), java_script_enabled=False)
    page = opened.page
    assert not page.locator("#explorer").is_visible()
    assert page.get_by_text("Without JavaScript the trials stand in the table").is_visible()
    assert 9 == page.locator("#everything tbody tr").count()


def test_nothing_moves_for_those_who_asked_for_less_motion(reports, open_report):
    opened = open_report(reports("small"), reduced_motion="reduce")
    smooth = "getComputedStyle(document.documentElement).scrollBehavior"
    assert "auto" == opened.page.evaluate(smooth)
