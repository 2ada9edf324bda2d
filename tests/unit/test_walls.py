"""The imports, read from the source, hold the walls of the design."""

import ast
from pathlib import Path

import pytest

from tests.support import ROOT

# From the inside out: a part may import itself and those before it.
ORDER = ["core", "search", "run", "report", "callbacks", "hydra_edge"]
FREE = {
    "errors",
    "places",
    "terminal",
    "factory_signature",
    "hf_config",
    "one_line_parser",
    "cli",
    "bugs",
    "__init__",
    "__main__",
}

# framework -> the only places that may import it
DOORS = {
    "torch": ["sweeper/worker/", "models/"],
    "deepspeed": ["sweeper/worker/"],
    "transformers": ["models/hf.py"],
    "peft": ["models/hf.py"],
    "optuna": ["sweeper/search/"],
    "hydra": ["sweeper/hydra_edge/", "hydra_plugins/"],
    "omegaconf": ["sweeper/hydra_edge/", "hydra_plugins/"],
    "pandas": ["sweeper/report/"],
    "pyarrow": [],  # pandas imports it where it is there
    "matplotlib": ["sweeper/report/figures/"],
    "rich": ["sweeper/terminal/screen.py"],
    "mlflow": ["sweeper/callbacks/mlflow.py"],
    "wandb": ["sweeper/callbacks/wandb.py"],
    "tensorboardX": ["sweeper/callbacks/tensorboard.py"],
    "optuna_dashboard": [],  # it reads what we write
    "accelerate": [],  # an export is files: nobody needs what reads them
    "lightning": [],
    "playwright": [],  # tests alone open a browser
}


def _sources():
    for folder in ("sweeper", "models", "hydra_plugins"):
        yield from sorted((ROOT / folder).rglob("*.py"))


SOURCES = list(_sources())


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_each_framework_comes_in_by_its_own_door(path):
    for name in imported(path):
        allowed = DOORS.get(name.split(".")[0])
        assert allowed is None or relative(path).startswith(tuple(allowed)), f"{name} in {path}"


@pytest.mark.parametrize("path", sorted((ROOT / "sweeper" / "core").rglob("*.py")), ids=relative)
def test_the_core_imports_only_itself_and_the_standard_library(path):
    import sys

    for name in imported(path):
        first = name.split(".")[0]
        ours = name.startswith("sweeper.core") or name == "sweeper.errors"
        assert ours or first in sys.stdlib_module_names, f"{name} in {path}"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_run_one_way(path):
    parts = relative(path).split("/")
    if parts[0] != "sweeper" or parts[1] not in ORDER:
        return
    allowed = ORDER[: ORDER.index(parts[1]) + 1]
    for name in imported(path):
        pieces = name.split(".")
        if pieces[0] == "sweeper" and len(pieces) > 1 and pieces[1] not in FREE:
            assert pieces[1] in allowed, f"{relative(path)} imports {name}"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_nobody_imports_the_worker_or_the_entry_point(path):
    # sweeper.best is for scripts of the user's own.
    doors = ("sweeper/worker/", "sweeper/__main__.py", "sweeper/best.py")
    if relative(path).startswith(doors):
        return
    assert "sweeper.best" not in imported(path)
    assert not any(name.startswith("sweeper.worker") for name in imported(path))
    assert not any(name == "sweeper.cli" for name in imported(path))


@pytest.mark.parametrize("path", sorted((ROOT / "sweeper" / "worker").rglob("*.py")), ids=relative)
def test_the_worker_knows_the_core_and_nothing_else_of_ours(path):
    for name in imported(path):
        if name.startswith("sweeper."):
            allowed = ("sweeper.core", "sweeper.worker", "sweeper.places")
            assert name.startswith(allowed), f"{relative(path)} imports {name}"


@pytest.mark.parametrize("path", sorted((ROOT / "models").glob("*.py")), ids=relative)
def test_models_know_nothing_of_the_sweeper(path):
    assert not any(name.startswith(("sweeper", "deepspeed")) for name in imported(path))


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_every_module_says_what_it_is_for(path):
    assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"


@pytest.mark.parametrize("path", sorted((ROOT / "sweeper" / "terminal").glob("*.py")), ids=relative)
def test_the_terminal_knows_the_core_and_nothing_else_of_ours(path):
    for name in imported(path):
        if name.startswith("sweeper."):
            allowed = ("sweeper.core", "sweeper.terminal", "sweeper.errors")
            assert name.startswith(allowed), f"{relative(path)} imports {name}"
