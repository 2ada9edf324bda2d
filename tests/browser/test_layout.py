"""Whether all of a report can be seen, on a phone and on a desk, and what its marks mean."""

import pytest

from sweeper.report.finalists import FINALISTS_HEAD
from tests.browser.conftest import DESKTOP, PHONE
from tests.browser.studies import STUDIES

_UNFOLDED = "for (const fold of document.querySelectorAll('details')) fold.open = true"
# [name, width of what is in it, its own width, whether a hint is to be seen]
_BOXES = """boxes => boxes.map(box => {
    const hint = box.previousElementSibling;
    const seen = hint?.matches(".more") && hint.checkVisibility();
    return [box.getAttribute("aria-label"), box.scrollWidth, box.clientWidth, Boolean(seen)];
})"""
_TEXTS = """texts => texts.map(text => {
    const { left, right, top, bottom } = text.getBoundingClientRect();
    return [text.textContent, left, right, top, bottom];
})"""


@pytest.mark.parametrize("name", STUDIES)
def test_tables_of_few_columns_fit_a_phone_by_wrapping_and_stacking(name, reports, open_report):
    page = open_report(reports(name), viewport=PHONE).page
    page.evaluate(_UNFOLDED)
    boxes = page.locator(".scroll.narrow, .scroll.stacked").evaluate_all(_BOXES)
    assert boxes
    assert [] == [box for box in boxes if box[1] > box[2] or box[3]]


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("name", STUDIES)
def test_what_is_too_wide_and_nothing_else_says_that_it_scrolls(
    name, viewport, reports, open_report
):
    page = open_report(reports(name), viewport=viewport).page
    page.evaluate(_UNFOLDED)
    page.wait_for_timeout(100)  # sizes are told a frame later
    boxes = page.locator(".scroll, .picture").evaluate_all(_BOXES)
    assert [] == [box for box in boxes if (box[1] > box[2] + 1) is not box[3]]
    if viewport is PHONE:
        assert any(seen for *_, seen in boxes)


@pytest.mark.parametrize("name", STUDIES)
def test_captions_are_read_without_scrolling(name, reports, open_report):
    page = open_report(reports(name), viewport=PHONE).page
    ends = page.locator("caption > span").evaluate_all(
        "all => all.map(c => c.getBoundingClientRect().right)"
    )
    assert ends
    assert max(ends) <= PHONE["width"]


def test_the_name_of_a_row_stays_while_its_table_scrolls(reports, open_report):
    page = open_report(reports("full"), viewport=PHONE).page
    for box in (page.locator("#explorer .scroll.wide"), page.locator("#everything .scroll.wide")):
        assert "more-right" in box.get_attribute("class")
        box.evaluate("box => box.scrollTo(box.scrollWidth, 0)")
        page.wait_for_timeout(100)
        assert "more-right" not in box.get_attribute("class")
        row = box.locator("tbody tr").first
        assert abs(row.locator(".key").bounding_box()["x"] - box.bounding_box()["x"]) < 2
        last = row.locator("td").last.bounding_box()
        assert last["x"] + last["width"] <= PHONE["width"]


def test_the_interval_of_each_finalist_is_on_a_phones_screen(reports, open_report):
    page = open_report(reports("full"), viewport=PHONE).page
    cells = page.locator(f'td[data-label="{FINALISTS_HEAD[2]}"]')
    assert 4 == cells.count()
    for cell in cells.all():
        box = cell.bounding_box()
        assert box["x"] + box["width"] <= PHONE["width"]
    drawn = page.locator("svg#finalists").bounding_box()
    assert drawn["x"] + drawn["width"] <= PHONE["width"]


def test_a_name_is_in_one_piece_where_there_is_room(reports, open_report):
    page = open_report(reports("full")).page
    lines = page.locator("td > code").evaluate_all("all => all.map(c => c.getClientRects().length)")
    assert len(lines) > 10
    assert {1} == set(lines)


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("name", ["full", "small", "crowd", "hostile"])
def test_labels_of_axes_never_meet_and_stay_in_the_frame(name, viewport, reports, open_report):
    page = open_report(reports(name), viewport=viewport).page
    texts = page.locator(".parallel text").evaluate_all(_TEXTS)
    frame = page.locator(".parallel svg").bounding_box()
    assert len(texts) > 4
    for n, (said, left, right, top, bottom) in enumerate(texts):
        assert left >= frame["x"], said
        assert right <= frame["x"] + frame["width"], said
        assert top >= frame["y"] + 4, said
        for other, *at in texts[n + 1 :]:
            apart = right <= at[0] or at[1] <= left or bottom <= at[2] or at[3] <= top
            assert apart, (said, other)


def test_a_label_that_was_cut_has_its_whole_text_for_who_points_at_it(reports, open_report):
    page = open_report(reports("hostile")).page
    cut = page.locator(".parallel text", has_text="…")
    assert cut.count()
    assert "onerror" in cut.first.locator("title").text_content()


def key_of(page):
    return page.locator(".marks li").all_inner_texts()


def test_the_key_explains_the_marks_that_there_are_and_no_others(reports, open_report):
    chosen = ["winner", "baseline", "pointed at, or kept by a click"]
    assert [
        *chosen,
        "measured",
        "stopped early: an estimate",
        "trains differently from the baseline",
        "without a number",
    ] == key_of(open_report(reports("full")).page)
    assert [*chosen, "measured"] == key_of(open_report(reports("single")).page)


def look(locator):
    """How a line is drawn, without its place."""
    return locator.evaluate_all(
        """lines => lines.map(line => {
            const { stroke, strokeWidth, strokeDasharray } = getComputedStyle(line);
            return [stroke, strokeWidth, strokeDasharray].join(" ");
        })"""
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_winner_baseline_and_a_kept_trial_are_told_apart(scheme, reports, open_report):
    page = open_report(reports("full"), color_scheme=scheme).page
    page.locator("tr[data-trial='9'] button.keep").click()
    page.mouse.move(5, 5)
    for kind in ("winner", "baseline", "chosen"):
        drawn, key = (
            look(page.locator(f".over .{kind}.line")),
            look(page.locator(f".marks .{kind}.line")),
        )
        assert 1 == len(drawn)
        assert drawn == key
    lines = look(page.locator(".over .line"))
    assert 4 == len(set(lines)) == len(lines)  # a kept one has a casing too
    rings = look(page.locator(".scatter .ring"))
    assert 3 == len(set(rings)) == len(rings)


def test_a_winner_that_is_kept_shows_both(reports, open_report):
    page = open_report(reports("full")).page
    page.locator("tr[data-trial='7'] button.keep").click()
    page.mouse.move(5, 5)
    over = page.locator(".parallel .over")
    assert 1 == over.locator(".winner").count() == over.locator(".casing").count()
    assert {"ring winner", "ring baseline", "ring chosen"} == set(
        page.locator(".scatter .ring").evaluate_all("all => all.map(r => r.getAttribute('class'))")
    )


def test_a_trial_that_trains_differently_has_a_mark_of_its_own(reports, open_report):
    page = open_report(reports("full")).page
    assert 1 == page.locator(".scatter .dot.differs").count()
    assert 1 == page.locator(".parallel svg > .line.differs").count()
    assert "trains differently" in page.locator("tr[data-trial='13']").inner_text()
    page.locator("tr[data-trial='13']").hover()
    assert "trains differently" in page.locator(".details").inner_text()
    assert 0 == open_report(reports("small")).page.locator(".differs").count()


def colors_by(page, option):
    """Of the legend, and of each trial's line."""
    page.get_by_label("colour by").select_option(label=option)
    legend = page.locator(".legend li")
    dots = legend.locator("i").evaluate_all("all => all.map(i => i.style.background)")
    lines = page.locator(".parallel svg > path.line").evaluate_all(
        "all => all.map(line => line.getAttribute('stroke'))"
    )
    return legend.all_inner_texts(), dots, lines


def test_of_more_words_than_colours_the_rest_share_one_that_says_so(reports, open_report):
    words, dots, lines = colors_by(open_report(reports("many")).page, "ds.word")
    assert [*(f"ds.word=word{n}" for n in range(7)), "other values of ds.word"] == words
    assert 8 == len(set(dots)) == len(set(lines))


def test_of_more_numbers_than_colours_each_has_its_place_on_a_scale(reports, open_report):
    page = open_report(reports("many")).page
    words, dots, lines = colors_by(page, "launch.omp_threads")
    assert [f"launch.omp_threads={n}" for n in (1, 3, 6, 8, 10)] == words
    assert 5 == len(set(dots))
    assert 10 == len(set(lines))
    shades = page.locator(".parallel svg > path.line").evaluate_all(
        "all => all.map(line => getComputedStyle(line).stroke)"
    )
    assert 10 == len(set(shades))  # the browser reads them as colours


@pytest.mark.parametrize("name", ["standard", "full"])
def test_the_table_of_the_explorer_fits_a_desk(name, reports, open_report):
    page = open_report(reports(name)).page
    box = page.locator("#explorer .scroll.wide")
    assert box.evaluate("box => box.scrollWidth <= box.clientWidth")
    last = box.locator("tbody tr").first.locator("td").last.bounding_box()
    assert last["x"] + last["width"] <= DESKTOP["width"]


# How many lines each word of a table's head takes.
_LINES = """heads => heads.flatMap(head => {
    const text = head.firstChild;
    return [...(text?.data ?? "").matchAll(/[a-z]+/g)].map(found => {
        const range = document.createRange();
        range.setStart(text, found.index);
        range.setEnd(text, found.index + found[0].length);
        return [found[0], range.getClientRects().length];
    });
})"""


def test_no_word_of_a_tables_head_is_broken_on_a_phone(reports, open_report):
    page = open_report(reports("full"), viewport=PHONE).page
    words = page.locator(".scroll.narrow th").evaluate_all(_LINES)
    assert ["tolerance", 1] in words
    assert {1} == {lines for _, lines in words}
