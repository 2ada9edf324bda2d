"""The page of the Python API: signatures and docstrings, read from the source without importing torch."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from docs.generate.markdown import page
from sweeper.places import import_root

# What people's own code imports. A module that is not there is not described.
_DOORS = ("sweeper", "sweeper.best", "sweeper.errors", "sweeper.callbacks.contract")

_INTRODUCTION = """\
What a script of yours may import. All else may change without notice; a model of your own is a
[factory](../models-factory.md), whose functions are looked up by name."""


@dataclass(frozen=True, slots=True)
class Definition:
    """A function or class, and the module that people import it from."""

    door: str
    node: ast.FunctionDef | ast.ClassDef


def api_page() -> str:
    """A section for each door."""
    parts = []
    for door in doors():
        shown = [_text(definition) for definition in public(door)]
        docstring = ast.get_docstring(_module(door)) or ""
        if shown:
            parts.append("\n\n".join([f"## {door}", _markdown(docstring), *shown]))
    return page("Python API", _INTRODUCTION, *parts)


def doors() -> list[str]:
    """Those that there are."""
    return [door for door in _DOORS if _source(door) is not None]


def public(door: str) -> Iterator[Definition]:
    """What ``__all__`` names, where it is defined; without an ``__all__`` every public class."""
    module = _module(door)
    names = _all_of(module)
    here = {
        node.name: node for node in module.body if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    if names is None:
        yield from (Definition(door, node) for name, node in here.items() if name[0] != "_")
        return
    imports = {
        alias.asname or alias.name: node.module
        for node in ast.walk(module)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    for name in names:
        if name in here:
            yield Definition(door, here[name])
        elif name in imports:
            yield Definition(door, _defined(imports[name], name))


def _all_of(module: ast.Module) -> list[str] | None:
    for node in module.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return None


def _defined(module: str, name: str) -> ast.FunctionDef | ast.ClassDef:
    for node in _module(module).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node
    raise LookupError(f"{module} has no {name}")


def _module(name: str) -> ast.Module:
    path = _source(name)
    assert path is not None, name
    return ast.parse(path.read_text(encoding="utf-8"))


def _source(module: str) -> Path | None:
    place = import_root().joinpath(*module.split("."))
    found = (path for path in (place / "__init__.py", place.with_suffix(".py")) if path.is_file())
    return next(found, None)


def _text(definition: Definition) -> str:
    node = definition.node
    docstring = _markdown(ast.get_docstring(node) or "")
    return f"### {node.name}\n\n```python\n{_signature(node)}\n```\n\n{docstring}"


def _signature(node: ast.FunctionDef | ast.ClassDef) -> str:
    if isinstance(node, ast.FunctionDef):
        returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        return f"def {node.name}({ast.unparse(node.args)}){returns}"
    bases = ", ".join(map(ast.unparse, node.bases))
    lines = [f"class {node.name}({bases})" if bases else f"class {node.name}"]
    for member in node.body:
        if isinstance(member, ast.AnnAssign | ast.Assign):
            lines.append(f"    {ast.unparse(member)}")
        elif isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
            about = (ast.get_docstring(member) or "").split("\n")[0]
            lines.append(f"    {_signature(member)}" + (f"  # {about}" if about else ""))
    return "\n".join(lines)


def _markdown(docstring: str) -> str:
    """Indented lines are code; double backticks are Markdown's as well."""
    paragraphs = []
    for paragraph in docstring.split("\n\n"):
        if paragraph.startswith("    "):
            body = "\n".join(line.removeprefix("    ") for line in paragraph.splitlines())
            paragraphs.append(f"```python\n{body}\n```")
        else:
            paragraphs.append(paragraph.replace("``", "`"))
    return "\n\n".join(paragraphs)
