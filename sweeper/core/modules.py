"""Finds the file of a module as ``python -m`` does, without running anything of it."""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

# What ``python -m package`` runs.
MAIN = "__main__"


class NoSuchModule(Exception):
    """Says what is missing."""


def is_module_name(text: str) -> bool:
    """Whether ``text`` may be a module's: words with dots between them."""
    return all(part.isidentifier() for part in text.split("."))


def module_file(name: str, folder: Path) -> Path:
    """The file that ``python -m name`` runs where it is typed in ``folder``. Raises NoSuchModule."""
    spec = _found(name, folder)
    if spec.submodule_search_locations is not None:
        places = list(spec.submodule_search_locations)
        inner = _among(places, f"{name}.{MAIN}")
        if inner is None or inner.origin is None:
            raise NoSuchModule(f"{name} is a package without a {MAIN}.py{_example(name, places)}")
        spec = inner
    if spec.origin is None or not Path(spec.origin).is_file():
        raise NoSuchModule(f"{name} is in no file ({spec.origin})")
    return Path(spec.origin)


def _found(name: str, folder: Path) -> ModuleSpec:
    top, *rest = name.split(".")
    spec = _among([str(folder), *sys.path], top) or _by_other_finders(top)
    if spec is None:
        raise NoSuchModule(f"there is no module {top} in {folder}, and none is installed")
    for part in rest:
        places, whole = spec.submodule_search_locations, f"{spec.name}.{part}"
        if places is None:
            raise NoSuchModule(f"{spec.name} is a module and no package: there is no {whole}")
        inner = _among(list(places), whole)
        if inner is None:
            raise NoSuchModule(f"there is no module {whole} in {', '.join(places)}")
        spec = inner
    return spec


def _among(places: Sequence[str], name: str) -> ModuleSpec | None:
    """A folder without __init__.py counts where none of the places has more."""
    portions: list[str] = []
    for place in places:
        finder = pkgutil.get_importer(place or ".")
        spec = finder.find_spec(name) if finder is not None else None
        if spec is None:
            continue
        if spec.loader is not None:
            return spec
        portions += spec.submodule_search_locations or ()
    if not portions:
        return None
    whole = ModuleSpec(name, None, is_package=True)
    whole.submodule_search_locations = portions
    return whole


def _by_other_finders(top: str) -> ModuleSpec | None:
    """Those of editable installations."""
    for finder in sys.meta_path:
        if finder is not PathFinder and hasattr(finder, "find_spec"):
            spec: ModuleSpec | None = finder.find_spec(top, None)
            if spec is not None:
                return spec
    return None


def _example(name: str, places: Sequence[str]) -> str:
    inside = sorted(m.name for m in pkgutil.iter_modules(places) if not m.ispkg)
    return f" (in it are {', '.join(inside[:8])})" if inside else ""
