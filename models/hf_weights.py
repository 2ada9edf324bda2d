"""Which weights of a Hugging Face architecture are drawn together, and in which precision."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

Unit = tuple[list[tuple[nn.Module, Any]], list[nn.Parameter]]


def units(model: nn.Module, knower: type, owner: Any = None) -> Iterator[Unit]:
    """Modules that are initialised together, each with the ``knower`` that knows how, and the parameters.

    A module without lists of blocks is one unit: an attention may draw what its own layers hold.
    """
    owner = model if isinstance(model, knower) else owner
    if not any(isinstance(module, nn.ModuleList) for module in model.modules()):
        yield list(_with_owners(model, knower, owner)), list(model.parameters())
        return
    parameters = list(model.parameters(recurse=False))
    for child in model.children():
        yield from units(child, knower, owner)
        parameters += child.parameters(recurse=False)
    if owner is not None and not isinstance(model, nn.ModuleList):
        yield [(model, owner)], list(dict.fromkeys(parameters))


def _with_owners(module: nn.Module, knower: type, owner: Any) -> Iterator[tuple[nn.Module, Any]]:
    """From the inside out, as Hugging Face does."""
    owner = module if isinstance(module, knower) else owner
    for child in module.children():
        yield from _with_owners(child, knower, owner)
    if owner is not None:
        yield module, owner


@contextlib.contextmanager
def in_single_precision(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """On the CPU, so that a seed gives the same weights whatever they are created in and on."""
    places = [(parameter, parameter.data) for parameter in parameters]
    for parameter, data in places:
        parameter.data = torch.empty(data.shape, dtype=torch.float32)
        parameter.data.copy_(data)
    yield
    for parameter, data in places:
        data.copy_(parameter.data)
        parameter.data = data
