"""Whether a document holds what its dataclass says: JSON that was changed has any kind of value anywhere."""

from __future__ import annotations

import functools
import types
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def check_fields(made: Any) -> None:
    """Of an instance of a dataclass. Raises ValueError for the first value of another kind."""
    cls: Any = type(made)
    hints = _hints(cls)
    for f in fields(made):
        value = getattr(made, f.name)
        if not _is(value, hints[f.name]):
            raise ValueError(f"{f.name} is {type(value).__name__}")


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
    if origin is tuple:
        return isinstance(value, tuple) and all(_is(each, inside[0]) for each in value)
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
