"""Pictures of reports, on a desk and on a phone, light and dark: ``python -m tests.browser.pictures``.

All of them go to build/pictures, for a person to look at; those of the documentation to docs/images too.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from sweeper.core.folder import StudyFolder
from sweeper.report.build import build_report
from tests.browser.conftest import DESKTOP, PHONE
from tests.browser.studies import STUDIES
from tests.support import ROOT

ALL, COMMITTED = ROOT / "build" / "pictures", ROOT / "docs" / "images"
MOST_BYTES = 3_000_000  # of those that are committed, together
_SIZES = {"desktop": DESKTOP, "phone": PHONE}
_SCHEMES = ("light", "dark")
# A taller section is cut here.
_TALLEST = 6000
_COLORS, _AREAS = 256, 64
# What the documentation shows: study and section, each at both sizes in both schemes.
_SHOWN = {
    ("gpt2-nano", "answer"),
    ("gpt2-nano", "why"),
    ("full", "pictures"),
    ("full", "failures"),
    ("gpt2-nano", "trust"),
}
# What stays on the screen while one scrolls would lie across a picture of more than a screen.
_STILL = "nav { position: static !important; } section { padding-bottom: 1rem; }"


def main() -> None:
    """Builds each report, opens it in chromium, and writes what it looks like."""
    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert program, "no chromium: type apt-get install chromium, or set CHROMIUM to its program"
    shutil.rmtree(ALL, ignore_errors=True)
    ALL.mkdir(parents=True)
    for old in COMMITTED.glob("report-*.png"):
        old.unlink()
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        os.chdir(temporary)  # what is typed in a report starts from there
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for study, folder in _studies():
            build_report(folder)
            for path in _pictures(browser, study, folder.report_html):
                print(path)
        browser.close()
    committed = sum(path.stat().st_size for path in COMMITTED.glob("*.png"))
    print(f"docs/images: {committed / 1e6:.2f} MB")
    assert committed < MOST_BYTES


def _studies() -> Iterator[tuple[str, StudyFolder]]:
    recorded = Path("results") / "gpt2-nano"
    shutil.copytree(ROOT / "tests" / "golden" / "gpt2-nano", recorded)
    yield "gpt2-nano", StudyFolder(recorded)
    for name, make in STUDIES.items():
        yield name, make(Path("results") / name)


def _pictures(browser: Browser, study: str, report: Path) -> Iterator[Path]:
    for size, viewport in _SIZES.items():
        for scheme in _SCHEMES:
            context = browser.new_context(
                viewport=viewport,
                color_scheme=scheme,
                reduced_motion="reduce",
            )
            page = context.new_page()
            page.goto(report.resolve().as_uri())
            page.add_style_tag(content=_STILL)
            page.wait_for_timeout(200)
            yield from _sections(page, study, f"{size}-{scheme}")
            context.close()


def _sections(page: Page, study: str, look: str) -> Iterator[Path]:
    page_width = page.viewport_size["width"] if page.viewport_size else 0
    for section in page.locator("main > section").all():
        name = section.get_attribute("id") or ""
        box = section.bounding_box()
        assert box is not None
        # The answer begins with the head of the page; the others stand between the page's edges.
        top = 0.0 if name == "answer" else box["y"]
        clip = {"x": 0, "y": top, "width": page_width}
        clip["height"] = min(box["y"] + box["height"] - top, _TALLEST)
        path = ALL / f"{study}-{name}-{look}.png"
        page.screenshot(path=path, full_page=True, clip=clip)
        yield path
        if (study, name) in _SHOWN:
            _reduce(path, COMMITTED / f"report-{name}-{look}.png")


def _reduce(path: Path, reduced_path: Path) -> None:
    """To a palette, half of the bytes: areas keep their colours exactly, and small marks nearly."""
    with Image.open(path) as opened:
        pixels = np.asarray(opened.convert("RGB")).astype(int)
    codes, place, count = np.unique(
        pixels @ [1 << 16, 1 << 8, 1], return_inverse=True, return_counts=True
    )
    colors = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1)
    order = np.argsort(-count)
    # The most frequent ones, then the most frequent one of each kind: those of marks are rare.
    _, kinds = np.unique(colors[order] >> 4, axis=0, return_index=True)
    chosen = np.array([*dict.fromkeys([*order[:_AREAS], *order[np.sort(kinds)]])][:_COLORS])
    palette = colors[chosen]
    nearest = np.array([((palette - color) ** 2).sum(axis=1).argmin() for color in colors])
    reduced = Image.fromarray(nearest[place].reshape(pixels.shape[:2]).astype("uint8"), mode="P")
    reduced.putpalette(palette.astype("uint8").tobytes())
    reduced.save(reduced_path, optimize=True)


if __name__ == "__main__":
    main()
