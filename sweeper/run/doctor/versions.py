"""What ``doctor`` says of the packages that a study runs on: whether these versions are known to work."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import metadata

from sweeper.core.finding import Finding, failure, ok, warning

# Package -> the least version that is taken (pyproject.toml), and that of the tests (constraints.txt).
KNOWN = {
    "torch": ("2.4", "2.13.0"),
    "deepspeed": ("0.19", "0.19.8"),
    "optuna": ("5.0", "5.0.0"),
    "hydra-core": ("1.3.2", "1.3.8"),
}


def version_findings() -> Iterator[Finding]:
    """One for each package."""
    for name in KNOWN:
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed = None
        yield version_finding(name, installed)


def version_finding(name: str, installed: str | None) -> Finding:
    """A release of another minor version than that of the tests is a warning."""
    least, tested = KNOWN[name]
    install = f"type pip install {name}=={tested}"
    if installed is None:
        return failure(name, "not installed", install)
    if _numbers(installed) < _numbers(least):
        return failure(name, f"{installed}; at least {least} is needed", install)
    if _numbers(installed)[:2] != _numbers(tested)[:2]:
        return warning(name, f"{installed}; tested with {tested}", f"if trials fail, {install}")
    return ok(name, f"{installed}; tested with {tested}")


def _numbers(version: str) -> tuple[int, ...]:
    release = re.match(r"[\d.]*\d", version)
    return tuple(map(int, release.group().split("."))) if release else ()
