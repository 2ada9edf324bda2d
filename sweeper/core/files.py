"""Files that are there as a whole or not at all, and what can be read of one that is neither."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper.errors import UsageError


@dataclass(frozen=True, slots=True)
class Damaged:
    """A file that tells nothing. ``why`` goes on behind its name: "is empty"."""

    path: Path
    why: str

    def __str__(self) -> str:
        return f"{self.path} {self.why}"


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
    """As ``write_bytes``; what is no text (a name that is not UTF-8) is spelled out."""
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Atomic and durable: a reader sees the old file or the new one, never a half."""
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        make_way(path)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def make_way(path: Path) -> None:
    """A folder in a file's place is put aside under another name: nobody knows what is in it."""
    if path.is_dir() and not path.is_symlink():
        path.rename(free_name(path.with_name(f"{path.name}.put-aside")))


def remove(path: Path) -> None:
    """A file, a link, or a folder with all in it; nothing where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def free_name(path: Path) -> Path:
    """This one, or with the first number behind it that nobody has."""
    number, found = 1, path
    while os.path.lexists(found):
        number += 1
        found = path.with_name(f"{path.name}-{number}")
    return found


def write_json(path: Path, document: Any) -> None:
    """As ``write_text``."""
    write_text(path, json.dumps(document, indent=2) + "\n")


def seen_text(path: Path) -> str | Damaged | None:
    """None where there is no such file."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Damaged(path, "is a link to nothing") if path.is_symlink() else None
    except UnicodeDecodeError:
        return Damaged(path, "is not UTF-8")
    except IsADirectoryError:
        return Damaged(path, "is a folder")
    except OSError as error:
        return Damaged(path, f"cannot be read ({error.strerror or error})")


def seen_json(path: Path) -> Any | Damaged | None:
    """As ``seen_text``; what a file of one document holds."""
    text = seen_text(path)
    if text is None or isinstance(text, Damaged):
        return text
    if not text.strip():
        return Damaged(path, "is empty")
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        is_half = error.pos >= len(text.rstrip()) or "Unterminated" in error.msg
        return Damaged(path, "is half" if is_half else "is no JSON")
    except (ValueError, RecursionError):
        return Damaged(path, "is no JSON")
    return Damaged(path, "says null") if document is None else document


def read_json(path: Path) -> Any | None:
    """None where there is no such file, or only half of one."""
    document = seen_json(path)
    return None if isinstance(document, Damaged) else document


def read_object(path: Path) -> Mapping[str, Any]:
    """As ``read_json``; what is no JSON object is empty."""
    document = read_json(path)
    return document if isinstance(document, dict) else {}


def read_text(path: Path) -> str:
    """Empty where nothing can be read; what is not UTF-8 in it is spelled out."""
    try:
        return path.read_text(encoding="utf-8", errors="backslashreplace")
    except OSError:
        return ""
