"""Where the project's own files lie: inside an installed package, beside it in a checkout."""

from __future__ import annotations

import functools
import os
import platform
from importlib import metadata
from pathlib import Path

from sweeper.errors import EnvironmentUnfit

_PACKAGE = Path(__file__).resolve().parent


def import_root() -> Path:
    """The folder from which ``import sweeper`` works."""
    return _PACKAGE.parent


def search_path() -> str:
    """PYTHONPATH of a child: this package's, the user's, and the folder that the user types in."""
    places = [str(import_root()), os.environ.get("PYTHONPATH", ""), str(Path.cwd())]
    return os.pathsep.join(filter(None, places))


def conf_dir() -> Path:
    """The Hydra configurations."""
    return _inside_or_beside("conf", "config.yaml")


def models_dir() -> Path:
    """The built-in models."""
    return _inside_or_beside("models", "__init__.py")


def page(name: str) -> str:
    """Where a page of the documentation is read: an installed package has none."""
    beside = _PACKAGE.parent / "docs" / name
    return f"docs/{name}" if beside.is_file() else f"docs/{name} of the source distribution"


def _inside_or_beside(name: str, witness: str) -> Path:
    inside = _PACKAGE / name
    return inside if (inside / witness).is_file() else _PACKAGE.parent / name


def extensions_dir() -> Path:
    """Where DeepSpeed's compiled ops are kept: one folder for each Python, torch and DeepSpeed.

    Shared by every clone of one user, so that ops are built once.
    """
    return cache_dir() / "torch_extensions" / _versions()


@functools.cache
def _versions() -> str:
    try:
        torch, deepspeed = (metadata.version(name) for name in ("torch", "deepspeed"))
    except metadata.PackageNotFoundError as error:
        raise EnvironmentUnfit(
            f"{error.name} is not installed, and nothing is trained without; type pip install {error.name}"
        ) from None
    return f"py{platform.python_version()}-torch{torch}-deepspeed{deepspeed}"


def cache_dir() -> Path:
    """``SWEEPER_CACHE_DIR``, else ``sweeper`` in the user's cache folder."""
    if named := os.environ.get("SWEEPER_CACHE_DIR"):
        return Path(named)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "sweeper"
