"""Files that are there as a whole or not at all, and JSON in them."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

from sweeper.errors import UsageError


def make_folder(path: Path) -> None:
    """With those above it. Raises UsageError where there can be none."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if is_full(error):
            raise
        raise UsageError(
            f"{path}: no folder can be made there ({error.strerror or error}); type another one"
        ) from error


def is_full(error: OSError) -> bool:
    """Whether it is space that is missing."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def write_text(path: Path, text: str) -> None:
    """As ``write_bytes``."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Atomic and durable: a reader sees the old file or the new one, never a half."""
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_json(path: Path, document: Any) -> None:
    """As ``write_text``."""
    write_text(path, json.dumps(document, indent=2) + "\n")


def read_json(path: Path) -> Any | None:
    """None where there is no such file, or only half of one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
