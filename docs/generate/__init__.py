"""The reference of the documentation, made from the code that it describes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from docs.generate.api import api_page
from docs.generate.commands import commands_page
from docs.generate.files import files_page
from docs.generate.models import models_page
from docs.generate.options import options_page
from docs.generate.outcomes import outcomes_page
from docs.generate.rules import rules_page

REFERENCE = Path(__file__).resolve().parent.parent / "reference"
PAGES: Mapping[str, Callable[[], str]] = {
    "commands": commands_page,
    "options": options_page,
    "models": models_page,
    "rules": rules_page,
    "outcomes": outcomes_page,
    "files": files_page,
    "api": api_page,
}
