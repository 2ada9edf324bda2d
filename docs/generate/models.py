"""The page of presets: the models that come with the package, and the arguments of their factories."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from docs.generate import composed
from docs.generate.markdown import code, page, table
from sweeper.places import models_dir

_INTRODUCTION = """\
`+model=<preset>` chooses a model with random weights, which cost as much time and memory as trained ones.
An argument is typed as `model.<argument>=...`. Other ways: a [Hugging Face architecture](../models-hf.md) by its config,
[a factory of your own](../models-factory.md), [a training script](../scripts.md) as it is."""


def models_page() -> str:
    """By factory, in the order of the files."""
    by_factory: dict[str, list[composed.Option]] = {}
    for option in composed.options("model"):
        by_factory.setdefault(_factory(option), []).append(option)
    parts = [_section(factory, options) for factory, options in by_factory.items()]
    return page("Models", _INTRODUCTION, *parts)


def _factory(option: composed.Option) -> str:
    """That of a shape is its family's file."""
    target = option.values.get("_target_")
    return str(target) if target else "sweeper.models.hf.build"


def _section(factory: str, options: list[composed.Option]) -> str:
    names = list(dict.fromkeys(name for o in options for name in _arguments(o.values)))
    rows = [
        [code(f"+model={o.name}"), *(_value(o.values, name) for name in names)] for o in options
    ]
    return "\n\n".join(
        [
            f"## {factory.removeprefix('sweeper.models.').removesuffix('.build')}",
            f"Built by `{factory}{_signature(factory)}`.",
            table(["Type", *(code(f"model.{name}") for name in names)], rows),
        ]
    )


def _arguments(values: Mapping[str, Any]) -> list[str]:
    return [name for name in values if name not in ("_target_", "name")]


def _value(values: Mapping[str, Any], name: str) -> str:
    return code(composed.as_typed(values[name])) if name in values else ""


def _signature(factory: str) -> str:
    module, _, name = factory.removeprefix("sweeper.models.").rpartition(".")
    source = (models_dir() / f"{module}.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return f"({ast.unparse(node.args)})"
    raise LookupError(f"{factory} is not in models/{module}.py")
