"""Writes the generated pages: ``python -m docs.generate``."""

from __future__ import annotations

from docs.generate import PAGES, REFERENCE
from sweeper.core.files import write_text

for name, make in PAGES.items():
    write_text(REFERENCE / f"{name}.md", make())
