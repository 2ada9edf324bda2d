"""Finds in a shell's lines which Python program they start."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

_PYTHON = re.compile(r"python[\d.]*$")
_LAUNCHERS = ("deepspeed", "torchrun", "accelerate", "accelerate-launch")
_LAUNCHER_MODULES = (
    *("torch.distributed.run", "torch.distributed.launch", "deepspeed.launcher.runner"),
    *("accelerate.commands.launch", "deepspeed", "torchrun"),
)
_MODULE_OPTIONS = ("-m", "--module")
# Where a line is more than one command.
_BETWEEN = {"&&", "||", ";", "|", "&", "(", ")", "{", "}", "then", "do", "done", "fi", "exec"}
_ITS_OWN = ("$@", "$*", "${@}")  # what the shell script was given itself
_CUT = re.compile(r"^\d*[<>]")


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonCommand:
    """``program`` is a script's path, or ``-m`` and a module's name; ``arguments`` are as they stand there."""

    program: str
    arguments: tuple[str, ...]
    launched: bool

    @property
    def line(self) -> str:
        """The arguments as one line; a shell's variables stay what they are."""
        return " ".join(a if "$" in a else shlex.quote(a) for a in self.arguments)


def python_command(text: str) -> PythonCommand | None:
    """The one that trains, as far as can be told: the last that a launcher starts, else the last."""
    found = list(_commands(text))
    return next((c for c in reversed(found) if c.launched), found[-1] if found else None)


def _commands(text: str) -> Iterator[PythonCommand]:
    for line in text.replace("\\\n", " ").splitlines():
        try:
            lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|()")
            lexer.whitespace_split, lexer.commenters = True, "#"
            words = list(lexer)
        except ValueError:
            continue  # a text over several lines
        command: list[str] = []
        for word in [*words, ";"]:
            if word not in _BETWEEN:
                command.append(word)
                continue
            if command and (found := _of(command)):
                yield found
            command = []


def _of(words: Sequence[str]) -> PythonCommand | None:
    """Behind whatever starts it: srun, env, nohup, assignments."""
    start = next((i for i, word in enumerate(words) if _starts(word)), None)
    if start is None:
        return None
    launched = not _PYTHON.search(PurePath(words[start]).name)
    position = start + 1
    while position < len(words):
        word = words[position]
        if word in _MODULE_OPTIONS and position + 1 < len(words):
            module = words[position + 1]
            if module == "sweeper":
                return None
            if module not in _LAUNCHER_MODULES:
                return _command(f"-m {module}", words[position + 2 :], launched)
            launched, position = True, position + 1
        elif word == "-c":
            return None
        elif word.endswith(".py"):
            return _command(word, words[position + 1 :], launched)
        position += 1
    return None


def _starts(word: str) -> bool:
    name = PurePath(word).name
    return name in _LAUNCHERS or bool(_PYTHON.match(name)) or word in ("$PYTHON", "${PYTHON}")


def _command(program: str, rest: Sequence[str], launched: bool) -> PythonCommand:
    cut = next((i for i, word in enumerate(rest) if _CUT.match(word)), len(rest))
    arguments = tuple(word for word in rest[:cut] if word not in _ITS_OWN)
    return PythonCommand(program=program, arguments=arguments, launched=launched)
