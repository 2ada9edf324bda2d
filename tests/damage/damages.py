"""Ways in which one file of a study can be damaged."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st

NOT_UTF8 = b"caf\xe9 \xff\xfe\x00\x80"
OTHER_KINDS = (
    "[1]",
    "null",
    "3",
    '"x"',
    "{}",
    "[]",
    "true",
    "1e999",
    '{"schema_version": 1}',
    "NaN",
)
OTHER_VALUES = (None, [], {}, "x", -1, 0, True, [None], {"a": 1}, "caf\udce9", 1e308)


def missing(path: Path, draw: Callable) -> None:
    path.unlink()


def empty(path: Path, draw: Callable) -> None:
    path.write_bytes(b"")


def half(path: Path, draw: Callable) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: draw(st.integers(0, max(len(content) - 2, 0)))])


def zeros(path: Path, draw: Callable) -> None:
    """What a file system makes of a write that the power cut."""
    path.write_bytes(b"\0" * len(path.read_bytes()))


def not_utf8(path: Path, draw: Callable) -> None:
    content = path.read_bytes()
    at = draw(st.integers(0, len(content)))
    path.write_bytes(content[:at] + NOT_UTF8 + content[at:])


def garbage(path: Path, draw: Callable) -> None:
    path.write_bytes(draw(st.binary(min_size=1, max_size=60)))


def other_kind(path: Path, draw: Callable) -> None:
    path.write_text(draw(st.sampled_from(OTHER_KINDS)))


def deep(path: Path, draw: Callable) -> None:
    path.write_text("[" * 100_000)


def a_folder(path: Path, draw: Callable) -> None:
    path.unlink()
    path.mkdir()
    if draw(st.booleans()):
        (path / "something").write_text("of somebody")


def a_link_to_nothing(path: Path, draw: Callable) -> None:
    path.unlink()
    os.symlink(path.parent / "nowhere", path)


def other_value(path: Path, draw: Callable) -> None:
    """Of JSON one field, on the first levels, of another kind."""
    try:
        document = json.loads(path.read_text())
    except ValueError:
        return empty(path, draw)
    place = document
    for _ in range(draw(st.integers(0, 2))):
        inside = [v for v in place.values() if isinstance(v, dict) and v]
        if not inside or "settings" not in document:
            break
        place = draw(st.sampled_from(inside))
    if not isinstance(place, dict) or not place:
        return empty(path, draw)
    name = draw(st.sampled_from(sorted(place)))
    place[name] = draw(st.sampled_from(OTHER_VALUES))
    path.write_text(json.dumps(document))
    return None


def without_a_value(path: Path, draw: Callable) -> None:
    try:
        document = json.loads(path.read_text())
    except ValueError:
        return empty(path, draw)
    if not isinstance(document, dict) or not document:
        return empty(path, draw)
    del document[draw(st.sampled_from(sorted(document)))]
    path.write_text(json.dumps(document))
    return None


def left_over(path: Path, draw: Callable) -> None:
    """Beside it, half of what a writer that was killed was about to put there."""
    content = path.read_bytes()
    number = 2**22 + draw(st.integers(1, 9))  # above what Linux gives a process
    path.with_name(f".{path.name}.{number}.tmp").write_bytes(content[: len(content) // 2])


DAMAGES = (
    *(missing, empty, half, zeros, not_utf8, garbage, other_kind, deep, a_folder),
    *(a_link_to_nothing, other_value, without_a_value, left_over),
)


def copied(study: Path, to: Path) -> Path:
    """Anew for each example."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(study, to, symlinks=True)
    return to
