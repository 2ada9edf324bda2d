"""The tutorial is what happens, and so is what other pages show: their commands print what is said."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import ROOT, environment

pytestmark = pytest.mark.real

PAGES = [
    page for page in sorted((ROOT / "docs").rglob("*.md")) if "\n```console\n" in page.read_text()
]
_BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"`([\w.]+\.py)`:\n\n$")
_NUMBER = r"~?[\d.,]+"
# A machine that is too busy to tell the two apart says so, in the place of the verdict.
_TOO_BUSY = (
    "the gain is gone, what is left is not told from noise",
    "the baseline itself (trial 0) won this study",
    "no clear gain over your own options",
    "your own options (trial 0) are the fastest",
)


@dataclass(frozen=True)
class Command:
    """What is typed, and the lines that it prints."""

    typed: str
    printed: str


def steps(page: Path) -> list[Command | tuple[str, str]]:
    """Commands, and files to save: name and text."""
    text = page.read_text(encoding="utf-8")
    found: list[Command | tuple[str, str]] = []
    for block in _BLOCK.finditer(text):
        language, body = block.groups()
        if language == "python":
            named = _FILE.search(text[: block.start()])
            assert named, "a Python block follows the name of its file"
            found.append((named[1], body))
            continue
        for typed in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
            # Up to the first line that does not go on in the next.
            command = re.match(r"(?:.*\\\n)*.*\n", typed)
            assert command
            found.append(Command(command[0].strip(), typed[command.end() :]))
    return found


def pattern(printed: str) -> str:
    """Of output: any number for a number, anything for ``...``; how lines are broken does not matter."""
    text = " ".join(printed.split())
    parts = []
    for part in re.split(r"(\.\.\.|\d[\d.,]*)", text):
        if part == "...":
            parts.append(r".*?")
        elif part[:1].isdigit():
            # The full stop of a sentence is none of the number.
            parts.append(_NUMBER)
        else:
            parts.append(re.escape(part).replace(r"\ ", r"\s*"))
    return r"\s*".join(["", *parts, ""]) + r"\Z"


def says(printed: str, expected: str) -> bool:
    return re.match(pattern(expected), " ".join(printed.split()), re.DOTALL) is not None


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_do_what_the_page_says(page, tmp_path):
    # The commands of this environment, as after its activate.
    commands = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = environment(PATH=commands, COLUMNS="300")
    for step in steps(page):
        if not isinstance(step, Command):
            (tmp_path / step[0]).write_text(step[1])
            continue
        ran = subprocess.run(
            step.typed,
            shell=True,
            cwd=tmp_path,
            env=own,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        if any(sentence in ran.stdout for sentence in _TOO_BUSY):
            assert ran.returncode in (0, 5), ran.stdout
            continue
        assert 0 == ran.returncode, f"$ {step.typed}\n{ran.stdout}"
        assert says(ran.stdout, step.printed), (
            f"$ {step.typed}\n{ran.stdout}\nnot as told:\n{step.printed}"
        )
