"""A headless chromium that opens reports; without one these tests are skipped, and say what to install."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sweeper.report.build import build_report
from tests.browser.studies import STUDIES

if TYPE_CHECKING:
    from playwright.sync_api import Page

AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("browser")
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(120))


@pytest.fixture(scope="session")
def chromium():
    program = (
        os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    )
    if program is None:
        pytest.skip("no chromium: type apt-get install chromium, or set CHROMIUM to its program")
    api = pytest.importorskip(
        "playwright.sync_api", reason="no playwright: type pip install -e '.[dev]'"
    )
    with api.sync_playwright() as playwright:
        # In a container, as root, chromium has no sandbox to run in; it opens our own files alone.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Opened:
    """A report in a page, with what went wrong in it and what it asked the network for."""

    page: Page
    troubles: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def rows(self) -> list[str]:
        """Numbers of the trials that the table shows, from the top."""
        found = self.page.locator("table.trials tbody tr:not([hidden])")
        return [str(n) for n in found.evaluate_all("rows => rows.map(r => r.dataset.trial)")]


@pytest.fixture
def open_report(chromium):
    contexts = []

    def opened(path: Path, init_script: str = "", **more) -> Opened:
        context = chromium.new_context(**{"viewport": DESKTOP, **more})
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        contexts.append(context)
        context.add_init_script(init_script)
        found = Opened(page=context.new_page())
        found.page.on("console", lambda said: found.troubles.append(said.text))
        found.page.on("pageerror", lambda error: found.troubles.append(str(error)))
        found.page.on("dialog", lambda dialog: (found.troubles.append("dialog"), dialog.dismiss()))
        found.page.on("request", lambda request: found.requests.append(request.url))
        found.page.goto(path.resolve().as_uri())
        return found

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def reports(tmp_path_factory):
    built = {}

    def report(name):
        if name not in built:
            folder = STUDIES[name](tmp_path_factory.mktemp(name) / "study")
            build_report(folder)
            built[name] = folder
        return built[name].report_html

    return report


@pytest.fixture
def axe():
    if not AXE.exists():
        pytest.skip("no axe-core: type npm install --prefix tests/browser")
    return AXE.read_text(encoding="utf-8")
