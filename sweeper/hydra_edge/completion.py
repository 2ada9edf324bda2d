"""What a shell is told when it completes a command line: verbs, studies, and what Hydra knows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

_WITH_STUDIES = ("report", "export", "verify")
_FLAGS = {
    "report": ("--output",),
    "export": ("--format", "--to", "--force"),
    "doctor": ("--accelerator", "--nvme", "--hostfile"),
}
_RESUME = "resume="


def answer(verbs: Sequence[str]) -> list[str] | None:
    """The words that the shell may put in; None where Hydra is to answer, with COMP_LINE as it can read it."""
    words = _typed_words(os.environ.get("COMP_LINE", ""))
    if not words:
        return None
    *before, word = words
    if not before:
        found = [verb for verb in verbs if verb.startswith(word)]
        found += [_RESUME] if word and _RESUME.startswith(word) else []
        # What Hydra has for an empty word is added by it: a verb alone is no help against 60 names.
        return found if found and word else _studies(word)
    if before[0] not in verbs:
        return _studies(word)
    if before[0] == "explain":
        # To Hydra it is a command line without its verb.
        os.environ["COMP_LINE"] = " ".join(["sweeper", *before[1:], word])
        return None
    if before[0] in _WITH_STUDIES and not word.startswith("-"):
        return sorted(_folders(word))
    return [flag for flag in _FLAGS.get(before[0], ()) if flag.startswith(word)]


def _typed_words(line: str) -> list[str]:
    """After the command's own name, which may be ``python -m sweeper``; the last is the one to complete."""
    words = line.split()
    if line.endswith((" ", "\t")) or not words:
        words.append("")
    place = next((i for i, word in enumerate(words[:3]) if word.endswith("sweeper")), 0)
    return words[place + 1 :]


def _studies(word: str) -> list[str] | None:
    if not word.startswith(_RESUME):
        return None
    return [f"{_RESUME}{folder}" for folder in sorted(_folders(word.removeprefix(_RESUME)))]


def _folders(word: str) -> Iterator[str]:
    """Studies and what may hold some, that begin with the word."""
    parent = Path(word if word.endswith("/") else os.path.dirname(word))
    try:
        there = [path for path in parent.iterdir() if path.is_dir() and path.name[0] != "."]
    except OSError:
        return
    for path in there:
        name = os.path.join(os.path.dirname(word), path.name)
        if name.startswith(word):
            yield name if (path / "trials").is_dir() else f"{name}/"
