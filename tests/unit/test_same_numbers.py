"""Whether report.html, report.md and trials.csv say the same numbers."""

import json
import re
import shutil
import statistics
from html import escape
from html.parser import HTMLParser

import pandas as pd
import pytest

from sweeper.core.files import read_json
from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import measurement_of
from sweeper.core.quantities import format_bytes, format_rate
from sweeper.report.build import build_report
from sweeper.report.finalists import FINALISTS_HEAD
from tests.recorded import SPACE, crowd, full_study, recorded
from tests.support import ROOT


class Cells(HTMLParser):
    """The words of each cell of the table of all trials, by trial number."""

    def __init__(self):
        super().__init__()
        self.rows, self._inside, self._row, self._cell = {}, False, [], None

    def handle_starttag(self, tag, attributes):
        if ("id", "everything") in attributes:
            self._inside = True
        if tag == "tr":
            self._row = []
        if tag == "td":
            self._cell = ""

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data

    def handle_endtag(self, tag):
        if tag == "td":
            self._row.append(self._cell)
            self._cell = None
        if tag == "tr" and self._inside and self._row:
            self.rows[int(self._row[1].split()[0])] = self._row


def test_html_markdown_and_csv_have_the_same_numbers(tmp_path):
    folder = recorded(tmp_path / "s", crowd(40), study_name="crowd", space=SPACE)
    build_report(folder)
    cells = Cells()
    html = folder.report_html.read_text()
    cells.feed(html)
    embedded = json.loads(re.search(r'id="explorer-data">(.*?)</script>', html, re.S)[1])
    points = {t["trial"]: t for t in embedded["trials"]}
    lines = re.findall(r"^\| \d* \| \[(\d+)\].*$", folder.report.read_text(), re.M)
    rows = {
        int(re.search(r"\[(\d+)\]", line)[1]): [c.strip() for c in line.split("|")[1:-1]]
        for line in folder.report.read_text().splitlines()
        if re.match(r"\| \d* ?\| \[", line)
    }
    table = pd.read_csv(folder.trials_csv).set_index("trial")
    assert set(table.index) == set(rows) == set(cells.rows) == set(points)
    assert len(lines) >= 30
    for number, line in table.iterrows():
        known = not pd.isna(line.tokens_per_second_median)
        rate = format_rate(line.tokens_per_second_median) if known else ""
        peak = format_bytes(line.peak_host_resident_bytes) if known else ""
        for row in (rows[number], cells.rows[number]):
            assert (rate, peak) == (re.split(r" ± | \(", row[3])[0], row[6])
            assert str(line["batch.micro_size"]) == row[11]
        if known:
            assert (
                pytest.approx(line.tokens_per_second_median, rel=1e-12)
                == points[number]["tokens_per_second"]
            )
            assert (rows[number][3], peak) == (points[number]["rate"], points[number]["peak"])
            assert line.peak_host_resident_bytes == points[number]["peak_bytes"]
        else:
            assert points[number]["tokens_per_second"] is None


class KeyFacts(HTMLParser):
    """What stands on the cards of the answer: label -> value and note."""

    def __init__(self):
        super().__init__()
        self.found, self._inside, self._label = {}, None, None

    def handle_starttag(self, tag, attributes):
        self._inside = tag if tag in ("dt", "dd") else self._inside

    def handle_endtag(self, tag):
        if tag == self._inside:
            self._inside = None

    def handle_data(self, data):
        if self._inside == "dt":
            self._label = data
            self.found[data] = []
        elif self._inside == "dd":
            self.found[self._label].append(data)


def of_a_real_study(path):
    shutil.copytree(ROOT / "tests" / "golden" / "gpt2-nano", path)
    return StudyFolder(path)


@pytest.fixture(scope="module", params=[full_study, of_a_real_study], ids=["full", "real"])
def decided(request, tmp_path_factory):
    """A study with finals, whose report is there."""
    folder = request.param(tmp_path_factory.mktemp("decided") / "s")
    build_report(folder)
    return folder


def rows_of(text):
    return [
        [cell.strip().strip("*") for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| ")
    ]


def test_the_headline_is_that_of_the_finals_in_html_and_markdown(decided):
    document = read_json(decided.finalists.summary)
    number, gain = document["winner"], document["gain"]
    again = [r[number] for r in decided.finalists.read_rounds() if number in r]
    found = [measurement_of(trial.outcome) for trial in again]
    rate = statistics.geometric_mean(m.tokens_per_second for m in found)
    peak = max(m.peak_bytes for m in found)
    limit = again[0].memory_limit_bytes
    in_html = KeyFacts()
    in_html.feed(decided.report_html.read_text())
    in_markdown = {row[0]: row[1:] for row in rows_of(decided.report.read_text()) if len(row) == 3}
    interval = f"95 % interval {gain['low']:.2f} to {gain['high']:.2f}"
    for found in (in_html.found, in_markdown):
        assert format_rate(rate) == found["Tokens per second"][0]
        assert f"{gain['value']:.2f} ×" == found["Gain over the baseline"][0]
        assert found["Gain over the baseline"][1].startswith(interval)
        assert format_bytes(peak) == found["Memory used"][0]
        assert format_bytes(limit - peak) == found["Memory left"][0]
    for label, said in in_html.found.items():
        assert said == in_markdown[label]


def without_spread(cells):
    """Rates as 29,410 for "29,410 ± 300" and for "14,260 (3 steps)"."""
    return [re.sub(r" ±.*| \(\d+ steps\)", "", cell) for cell in cells]


def test_each_finalist_has_the_same_numbers_in_html_markdown_and_csv(decided):
    table = pd.read_csv(decided.trials_csv).set_index("trial")
    html = decided.report_html.read_text()
    markdown = rows_of(decided.report.read_text())
    document = read_json(decided.finalists.summary)
    best = statistics.geometric_mean(
        measurement_of(found[document["winner"]].outcome).tokens_per_second
        for found in decided.finalists.read_rounds()
    )
    for entrant in document["trials"]:
        number, times = entrant["trial"], entrant["times_the_winner"]
        name = re.compile(rf"{number}( \(baseline\))?$")
        interval = times and f"{times['value']:.2f} ({times['low']:.2f} to {times['high']:.2f})"
        expected = [
            format_rate(best * times["value"] if times else best),
            interval or "1",
            str(entrant["rounds"]),
            format_bytes(entrant["peak_bytes"]),
        ]
        expected.append(format_rate(table.tokens_per_second_median[number]))
        (row,) = [r for r in markdown if len(r) == 6 and name.match(r[0])]
        assert expected == without_spread(row[1:])
        (cells,) = [
            found
            for line in html.splitlines()
            if f'data-label="{escape(FINALISTS_HEAD[2])}"' in line
            and name.match((found := re.findall(r"<td[^>]*>(.*?)</td>", line))[0])
        ]
        assert row == cells
