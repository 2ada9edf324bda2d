"""``trials.parquet``: the table of trials with its types, where pyarrow is there to write it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from sweeper.core.extras import install_line
from sweeper.core.files import write_bytes


def write_parquet(table: pd.DataFrame, path: Path) -> str | None:
    """Returns None, or the line that says why there is no file; one of an earlier report is removed then."""
    if find_spec("pyarrow") is None:
        path.unlink(missing_ok=True)
        return (
            f"no {path.name}: pyarrow is not installed ({install_line('parquet')}); "
            f"sweeper.load('{path.parent}') gives the same table without it"
        )
    spelled = {str(name): _spelled(table[name]) for name in table}
    write_bytes(path, table.assign(**spelled).to_parquet(None, engine="pyarrow", index=False))
    return None


def _spelled(column: pd.Series[Any]) -> pd.Series[Any]:
    """Of the same type: other columns hold no text."""
    if not pd.api.types.is_string_dtype(column.dtype):
        return column
    return column.map(_as_text).astype(column.dtype)


def _as_text(value: Any) -> Any:
    """A name that is not UTF-8 is spelled out."""
    if not isinstance(value, str) or value.isascii():
        return value
    return value.encode("utf-8", errors="backslashreplace").decode("utf-8")
