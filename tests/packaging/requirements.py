"""What a virtual environment is filled with, from pyproject.toml: python requirements.py [--lowest] [--without torch,...]

``--lowest`` pins each to the bound that is declared. The tests' own tools come with it.
"""

import argparse
import re
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
_TOOLS = ("pytest", "pytest-timeout", "pytest-xdist", "setuptools", "wheel")
_REQUIREMENT = re.compile(r'^\s*"(?P<name>[\w-]+)(?:>=(?P<least>[\d.]+))?[^"]*",$', re.MULTILINE)


def requirements(*, lowest: bool, without: frozenset[str] = frozenset()) -> list[str]:
    """Of the package itself, without extras; not by tomllib, which Python 3.10 lacks."""
    declared = PYPROJECT.read_text().partition("\ndependencies = [\n")[2].partition("\n]\n")[0]
    wanted = []
    for found in _REQUIREMENT.finditer(declared):
        name, least = found["name"], found["least"]
        if name not in without:
            wanted.append(f"{name}=={least}" if lowest and least else name)
    return [*wanted, *_TOOLS]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lowest", action="store_true")
    parser.add_argument("--without", default="")
    given = parser.parse_args()
    left = frozenset(given.without.split(","))
    print("\n".join(requirements(lowest=given.lowest, without=left)))
