"""The tables of ``docs/trials-table.md``, made of the columns: ``python -m sweeper.report.columns_page``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sweeper.core.files import write_text
from sweeper.places import import_root
from sweeper.report.columns import AFTER_SETTINGS, BEFORE_SETTINGS, Column, setting_columns
from sweeper.report.table import MAIN_SETTINGS, NEVER_SHOWN

_BEGIN, _END = "<!-- generated: columns -->", "<!-- end -->"


def page() -> Path:
    """Of a checkout."""
    return import_root() / "docs" / "trials-table.md"


def with_columns(text: str) -> str:
    """The page's text with its tables made anew."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{_tables()}{_END}{after}"


def _tables() -> str:
    settings = setting_columns()
    shown = (*MAIN_SETTINGS, NEVER_SHOWN)
    others = [column for name, column in settings.items() if name not in shown]
    return "\n".join(
        [
            "### In every table",
            "",
            *_rows([*BEFORE_SETTINGS, *(settings[name] for name in MAIN_SETTINGS)]),
            *_rows(AFTER_SETTINGS)[2:],
            "",
            "### Where the trials differ in it",
            "",
            *_rows(others),
            "",
        ]
    )


def _rows(columns: Iterable[Column]) -> list[str]:
    cells = (
        f"| `{c.name}` | {c.dtype} | {c.unit} | {c.meaning.replace('|', chr(92) + '|')} |"
        for c in columns
    )
    return ["| Column | Type | Unit | Meaning |", "| --- | --- | --- | --- |", *cells]


if __name__ == "__main__":
    write_text(page(), with_columns(page().read_text(encoding="utf-8")))
