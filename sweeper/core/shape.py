"""Whether a document holds what its dataclass says: JSON that was changed has any kind of value anywhere."""

from __future__ import annotations

import functools
import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def check_fields(made: Any) -> None:
    """Of an instance of a dataclass. Raises ValueError for the first value of another kind."""
    cls: Any = type(made)
    hints = _hints(cls)
    for f in fields(made):
        value = getattr(made, f.name)
        if not _is(value, hints[f.name]):
            raise ValueError(f"{f.name} is {type(value).__name__}")


def check_flat(cls: Any, values: Mapping[str, Any]) -> None:
    """Of values under dotted names those that ``cls`` knows; as ``check_fields``."""
    kinds = _flat_kinds(cls)
    for name, value in values.items():
        if name not in kinds or (isinstance(value, str | int | float) and _is("", kinds[name])):
            continue  # a number is a word as well
        if not _is(value, kinds[name]):
            raise ValueError(f"{name} is {type(value).__name__}")


@functools.cache
def _flat_kinds(cls: Any) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for name, kind in _hints(cls).items():
        if is_dataclass(kind):
            group: Any = kind
            found |= {f"{name}.{inside}": each for inside, each in _flat_kinds(group).items()}
        else:
            found[name] = kind
    return found


@functools.cache
def _hints(cls: Any) -> Mapping[str, Any]:
    return get_type_hints(cls)


def _is(value: Any, kind: Any) -> bool:
    origin, inside = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(_is(value, each) for each in inside)
    if origin is Literal:
        return value in inside
    if origin is tuple or origin is list:
        return isinstance(value, tuple | list) and all(_is(each, inside[0]) for each in value)
    if origin is not None and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(
            _is(name, inside[0]) and _is(each, inside[1]) for name, each in value.items()
        )
    if origin is not None and issubclass(origin, Sequence):
        return isinstance(value, Sequence) and not isinstance(value, str)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)
