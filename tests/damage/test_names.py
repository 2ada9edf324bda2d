"""Names and reasons that are no plain text: not UTF-8, controls, marks of direction, words without an end."""

import os
from pathlib import Path

import pytest

from sweeper.core.outcome import Crashed
from sweeper.core.visible import visible
from sweeper.report.build import build_report
from sweeper.report.export import export
from sweeper.report.html_text import inline
from sweeper.report.page.blocks import Code
from tests.recorded import SPACE, at, recorded, small, small_rounds

ENDLESS = "x" * 10_000
REASONS = {
    "half a letter": "FileNotFoundError: 'caf\udce9.txt'",
    "another half": "bad \ud800 half",
    "turned around": "no such file \u202egpj.exe",
    "an escape": "\x1b[31mred\x07 and \x00",
    "endless": f"/{ENDLESS}/{'=' * 5000}",
    "from the right": "אין קובץ כזה",
}


def study_with(reason, path):
    crash = Crashed(reason=reason, evidence=f"Traceback\n{reason}", exit_code=1)
    trials = [*small()[:8], at(8, crash, **{"precision.mode": "bf16"})]
    return recorded(
        path, trials, rounds=small_rounds(), finalists=(2, 1), study_name=path.name, space=SPACE,
        stop_reason=visible(reason),
    )  # fmt: skip


@pytest.mark.parametrize("reason", REASONS.values(), ids=REASONS)
def test_a_reason_of_any_text_costs_no_report(tmp_path, reason):
    folder = study_with(reason, tmp_path / "mine")
    said = build_report(folder)
    assert "could not be made" not in said
    for page in (folder.report, folder.report_html):
        text = page.read_bytes().decode("utf-8")
        assert not set(text) & {"\x1b", "\x07", "\x00", *map(chr, range(0x202A, 0x202F))}
        assert not set(text) & set(map(chr, range(0x2066, 0x206A)))
    assert export(str(folder.path), name="all", to=None, force=True)


def test_a_study_in_a_folder_whose_name_is_not_utf8_has_a_report_and_exports(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 \xe2\x80\xaex"))
    folder = study_with("no", path)
    assert "could not be made" not in build_report(folder)
    made = export(os.fsdecode(os.fsencode(path)), name="all", to=None, force=False)
    assert "could not be made" not in made
    assert folder.report_html.read_text(encoding="utf-8").count("\\udce9")


def test_what_is_not_seen_stands_as_it_is_spelled():
    assert "a\\u202eb\\x1b[0m\n\tc\\udce9" == visible("a\u202eb\x1b[0m\n\tc\udce9")
    assert "<bdi>\\u202egpj.exe</bdi>" == inline(("\u202egpj.exe",))
    assert "<bdi>שם</bdi>" == inline(("שם",))
    assert "plain ± µ" == inline(("plain ± µ",))


@pytest.mark.parametrize("sign", ["x", "=", "/", "&", "<", "é", "_", "."])
def test_a_word_of_any_sign_can_be_broken(sign):
    for piece in (sign * 9_999, Code(sign * 9_999)):
        shown = inline((piece,))
        parts = shown.replace("<code>", "").replace("</code>", "").split("<wbr>")
        assert max(map(len, parts)) <= 150 * len("&amp;")
        assert sign * 9_999 == _unescaped("".join(parts))


def _unescaped(text):
    import html

    return html.unescape(text)
