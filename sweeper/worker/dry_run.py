"""One step of a model of the user's own, on fake tensors or else the CPU: what is wrong with it, in a line."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from sweeper.core.files import read_json, write_json
from sweeper.worker.building import can_recompute, function_named
from sweeper.worker.feed import NoTokens, batch_maker, loss_in, output_of
from sweeper.worker.model_profile import fake_batch

SAMPLES = 2
_BATCH = "a tensor, or a tuple or dict of tensors, whose first dimension are the samples"


class Mistake(Exception):
    """What the user must change; ``sure`` where real tensors would not change it."""

    def __init__(self, message: str, *, sure: bool = True) -> None:
        super().__init__(message)
        self.sure = sure


def dry_run(
    target: str, arguments: dict[str, Any], batch: str | None, loss: str | None, length: int
) -> dict[str, Any]:
    """The ``mistake``, None where a step can be taken; and whether the model ``recomputes``."""
    check = partial(_check, target, arguments, batch, loss, length)
    try:
        with FakeTensorMode():
            model = check(fake_batch_of)
    except Mistake as found:
        if found.sure:
            return {"mistake": str(found)}
        # Code that looks at values fails on fake tensors, and is right all the same.
        try:
            model = check(real_batch_of)
        except Mistake as found:
            return {"mistake": str(found)}
    return {"mistake": None, "recomputes": can_recompute(model)}


def fake_batch_of(make_batch: Any, length: int) -> Any:
    """A batch without values."""
    return fake_batch(make_batch, SAMPLES, length, torch.float32)


def real_batch_of(make_batch: Any, length: int) -> Any:
    """A batch as a trial makes it."""
    generator = torch.Generator().manual_seed(0)
    return make_batch(samples=SAMPLES, length=length, generator=generator)


def _check(
    target: str,
    arguments: dict[str, Any],
    batch: str | None,
    loss: str | None,
    length: int,
    batch_of: Callable[[Any, int], Any],
) -> nn.Module:
    build = _named(target, "_target_")
    make_batch = batch and _named(batch, "_batch_")
    loss_function = loss and _named(loss, "_loss_")
    with _blaming(f"model._target_={target} cannot build the model"):
        model = build(**arguments)
    if not isinstance(model, nn.Module):
        raise Mistake(f"model._target_={target} returned {_what(model)}; return a torch.nn.Module")
    model.train()
    try:
        make_batch = batch_maker(model, make_batch)
    except NoTokens as error:
        raise Mistake(f"model._target_={target}: {error}") from error
    named = f"model._batch_={batch}" if batch else "the model's batch"
    with _blaming(f"{named} cannot make a batch of samples={SAMPLES}, length={length}"):
        made = batch_of(make_batch, length)
    _check_batch(made, named)
    with _blaming(f"{_what(made)} as the batch does not go through the model"):
        output = output_of(model, made)
    where = f"model._loss_={loss}" if loss else "the model"
    with _blaming(f"{where} gives no loss: the output is {_what(output)}"):
        found = loss_in(output, made, loss_function)
    _check_loss(found, where)
    with _blaming("the backward pass of the loss fails"):
        found.backward()
    if all(parameter.grad is None for parameter in model.parameters()):
        raise Mistake("the loss reaches no parameter of the model: none has a gradient")
    return model


def _named(target: str, key: str) -> Any:
    module = target.rpartition(".")[0]
    if not module:
        raise Mistake(f"model.{key}={target}: type model.{key}=<module>.<function>")
    with _blaming(f"model.{key}={target} cannot be imported from {Path.cwd()} or Python's path"):
        found = function_named(target)
    if not callable(found):
        raise Mistake(f"model.{key}={target} is {_what(found)}; name a function")
    return found


def _check_batch(made: Any, named: str) -> None:
    tensors = made.values() if isinstance(made, Mapping) else made
    if not isinstance(made, Mapping | tuple | list):
        tensors = [made]
    for tensor in tensors:
        if not isinstance(tensor, Tensor) or tensor.dim() == 0 or tensor.shape[0] != SAMPLES:
            raise Mistake(f"{named} returned {_what(made)} for {SAMPLES} samples; return {_BATCH}")


def _check_loss(found: Any, where: str) -> None:
    if not isinstance(found, Tensor) or found.numel() != 1 or not found.is_floating_point():
        raise Mistake(
            f"the loss of {where} is {_what(found)}, no scalar; return the mean, "
            "or name a function of output and batch: model._loss_=my_package.loss"
        )
    if not found.requires_grad:
        raise Mistake(f"the loss of {where} does not depend on a parameter that is trained")


@contextlib.contextmanager
def _blaming(what: str) -> Iterator[None]:
    try:
        yield
    except Mistake:
        raise
    except Exception as error:
        raise Mistake(f"{what}: {_first_line(error)}", sure=False) from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _what(value: Any) -> str:
    """A value in a few words, with the shapes of its tensors."""
    if isinstance(value, Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        return f"a tensor of {dtype} {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"a dict of {', '.join(f'{k}: {_what(v)}' for k, v in value.items()) or 'nothing'}"
    if isinstance(value, tuple | list):
        kind = type(value).__name__
        return f"a {kind} of {', '.join(map(_what, value)) or 'nothing'}"
    return f"{value!r}" if value is None or isinstance(value, int | float) else f"{type(value)}"


if __name__ == "__main__":
    request = read_json(Path(sys.argv[1])) or {}
    write_json(Path(sys.argv[2]), dry_run(**request))
