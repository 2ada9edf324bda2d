"""Checks a model's arguments against its factory's signature without importing it, and so torch."""

from __future__ import annotations

import ast
import difflib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeper.errors import UsageError
from sweeper.places import models_dir

_OWN = "sweeper.models."
# Of our own models' whole numbers all others count what there must be one of.
_MAY_BE_ZERO = ("lora_rank",)
_CHECKED_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
}
_A_VALUE = {"int": "1", "float": "0.1", "str": "text", "bool": "true"}
_WORDS = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false"}


def check_model_arguments(target: str, arguments: Mapping[str, Any]) -> None:
    """Raises UsageError for an argument that the factory does not take, lacks, or takes as another type or size.

    What cannot be read from the source (no such file, ``**kwargs``, other annotations) is left to
    the trial.
    """
    signature = _signature(target)
    if signature is None:
        return
    positional = [*signature.posonlyargs, *signature.args]
    parameters = {a.arg: a for a in [*positional, *signature.kwonlyargs]}
    required = {a.arg for a in positional[: len(positional) - len(signature.defaults)]}
    required |= {
        a.arg
        for a, default in zip(signature.kwonlyargs, signature.kw_defaults, strict=True)
        if default is None
    }
    own = target.startswith(_OWN)
    for name, value in arguments.items():
        if name in parameters:
            _check_type(name, value, parameters[name].annotation)
            if own and type(value) is int and value < 1 and name not in _MAY_BE_ZERO:
                raise UsageError(f"model.{name}={value}: must be at least 1; type model.{name}=1")
        elif signature.kwarg is None:
            close = difflib.get_close_matches(name, parameters, n=1, cutoff=0.3)
            raise UsageError(
                f"model.{name}={value}: {target} takes no {name}; allowed are "
                f"{', '.join(parameters)}; type "
                f"model.{(close or list(parameters))[0]}={value}"
            )
    for name in sorted(required - set(arguments)):
        raise UsageError(f"model.{name} is missing: {target} needs it; type +model.{name}=1")


def _check_type(name: str, value: Any, annotation: ast.expr | None) -> None:
    kind = annotation.id if isinstance(annotation, ast.Name) else ""
    if kind not in _CHECKED_TYPES:
        return
    right = isinstance(value, _CHECKED_TYPES[kind])
    if not right or (isinstance(value, bool) and kind != "bool"):
        raise UsageError(
            f"model.{name}={value}: is not {_WORDS[kind]}; type model.{name}={_A_VALUE[kind]}"
        )


def _signature(target: str) -> ast.arguments | None:
    module_name, _, function_name = target.rpartition(".")
    path = _source(module_name)
    if path is None:
        return None
    for node in _parsed(path):
        if isinstance(node, ast.FunctionDef) and node.name == function_name:
            return node.args
    if target.startswith(_OWN):
        raise UsageError(
            f"model._target_={target}: there is no function {function_name} in {path.name}; type "
            "+model=gpt2, or another of conf/model/"
        )
    return None


def _parsed(path: Path) -> list[ast.stmt]:
    try:
        return ast.parse(path.read_bytes()).body  # bytes: the file may name its encoding
    except (SyntaxError, ValueError):
        return []  # the dry run imports it, and says what is wrong


def _source(module_name: str) -> Path | None:
    own = module_name.removeprefix(_OWN)
    if own != module_name:
        path = models_dir() / f"{own}.py"
        if not path.is_file():
            raise UsageError(
                f"model._target_={module_name}: there is no {path.name} in models/; "
                "type +model=gpt2"
            )
        return path
    _check_importable(module_name)
    try:
        spec = importlib.util.find_spec(module_name) if module_name else None
    except Exception:  # the packages above it are imported, and are the user's
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin)


def _check_importable(module_name: str) -> None:
    """Raises UsageError where not even the outermost package is there, before anything is started."""
    outermost = module_name.partition(".")[0]
    try:
        there = outermost != "" and importlib.util.find_spec(outermost) is not None
    except (ImportError, ValueError):
        return  # it is there, and does not import: the dry run says why
    if not there:
        raise UsageError(
            f"model._target_={module_name or '<nothing>'}: cannot be imported from {Path.cwd()} or Python's "
            "path; what is asked of a factory is in docs/models-factory.md; type +model=gpt2"
        )
