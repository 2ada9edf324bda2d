"""One step of a model of the user's own, on fake tensors or else the CPU: what is wrong with it, in a line."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from sweeper.core.files import read_json, write_json
from sweeper.core.quantities import format_bytes
from sweeper.core.settings import HUGGING_FACE
from sweeper.worker.building import can_recompute, function_named
from sweeper.worker.failures import ran_out_of_memory
from sweeper.worker.feed import (
    NoTokens,
    batch_maker,
    flops_per_sample,
    loss_in,
    output_of,
    tokens_per_sample,
)
from sweeper.worker.limits import limit_growth
from sweeper.worker.model_profile import fake_batch, sizes_of

SAMPLES = 2
_BATCH = "a tensor, or a tuple or dict of tensors, whose first dimension are the samples"


class Mistake(Exception):
    """What the user must change.

    ``sure`` where real tensors would not change it, ``lack`` where it is one of memory alone.
    """

    def __init__(self, message: str, *, sure: bool = True, lack: bool = False) -> None:
        super().__init__(message)
        self.sure = sure
        self.lack = lack


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What is tried: as settings name it."""

    target: str
    arguments: dict[str, Any]
    batch: str | None
    loss: str | None
    length: int


def dry_run(trained: Trained, *, room_bytes: int) -> dict[str, Any]:
    """The ``mistake``, None where a step can be taken; else what is known of the model.

    ``note`` says why no step was taken: on real tensors it is where they take at most ``room_bytes``.
    """
    model = None
    try:
        with FakeTensorMode():
            model = _built(trained)
            _check(model, trained, fake_batch_of)
        return _known(model)
    except Mistake as found:
        if found.sure:
            return {"mistake": str(found)}
        first = found
    # Code that looks at values fails on fake tensors, and is right all the same.
    if model is None:
        try:
            with torch.device("meta"):
                model = _built(trained)
        except Mistake as found:
            if str(found) == str(first):
                return {"mistake": str(found)}
    return _on_real_tensors(trained, model, room_bytes)


def _on_real_tensors(
    trained: Trained, counted: nn.Module | None, room_bytes: int
) -> dict[str, Any]:
    """As long as weights and gradients, counted beforehand where that can be, find room."""
    needed = 0 if counted is None else 2 * sum(_bytes(p) for p in counted.parameters())
    if needed > room_bytes:
        return _not_tried(counted, f"{format_bytes(needed)} of weights and gradients")
    try:
        model = _built(trained)
        _check(model, trained, real_batch_of)
    except Mistake as found:
        if found.lack:
            return _not_tried(counted, f"more than {format_bytes(room_bytes)}")
        return {"mistake": str(found)}
    return _known(model)


def _not_tried(model: nn.Module | None, needed: str) -> dict[str, Any]:
    note = (
        "the model was not tried beforehand: its code looks at values, so that a step takes "
        f"{needed}, and a try may take a quarter of the free memory; the first trial will show"
    )
    return {**_known(model), "note": note}


def _known(model: nn.Module | None) -> dict[str, Any]:
    """``sizes`` and ``trained_sizes`` are (elements, how many parameters have so many)."""
    if model is None:
        return {"mistake": None, "recomputes": True}
    parameters = list(model.parameters())
    return {
        "mistake": None,
        "recomputes": can_recompute(model),
        "sizes": sizes_of(parameters),
        "trained_sizes": sizes_of([p for p in parameters if p.requires_grad]),
    }


def _bytes(parameter: nn.Parameter) -> int:
    return parameter.numel() * parameter.element_size()


def fake_batch_of(make_batch: Any, length: int) -> Any:
    """A batch without values."""
    return fake_batch(make_batch, SAMPLES, length, torch.float32)


def real_batch_of(make_batch: Any, length: int) -> Any:
    """A batch as a trial makes it."""
    generator = torch.Generator().manual_seed(0)
    return make_batch(samples=SAMPLES, length=length, generator=generator)


def _built(trained: Trained) -> nn.Module:
    target = trained.target
    build = _named(target, "_target_")
    what = f"model._target_={target} cannot build the model"
    if target == HUGGING_FACE:
        what = f"model.config={trained.arguments.get('config')}"
    with _blaming(what, own=target == HUGGING_FACE):
        model = build(**trained.arguments)
    if not isinstance(model, nn.Module):
        raise Mistake(f"model._target_={target} returned {_what(model)}; return a torch.nn.Module")
    model.train()
    return model


def _check(model: nn.Module, trained: Trained, batch_of: Callable[[Any, int], Any]) -> None:
    """One step."""
    target, batch, loss, length = trained.target, trained.batch, trained.loss, trained.length
    make_batch = batch and _named(batch, "_batch_")
    loss_function = loss and _named(loss, "_loss_")
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
    with _blaming(f"what the model says of its own size for length={length} fails"):
        tokens_per_sample(model, length)
        flops_per_sample(model, length)


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
def _blaming(what: str, *, own: bool = False) -> Iterator[None]:
    """``own``: a ValueError of what is called is a line of ours."""
    try:
        yield
    except Mistake:
        raise
    except Exception as error:
        said = str(error) if own and isinstance(error, ValueError) else _first_line(error)
        lack = ran_out_of_memory(error, limited=True)
        raise Mistake(f"{what}: {said}", sure=False, lack=lack is not None) from error


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
    room_bytes = int(sys.argv[3])
    limit_growth(room_bytes)
    write_json(Path(sys.argv[2]), dry_run(Trained(**request), room_bytes=room_bytes))
