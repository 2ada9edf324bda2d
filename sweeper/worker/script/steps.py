"""Times the optimizer steps that a user's script takes, at its engine."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NoReturn

import torch
from deepspeed import comm as dist
from deepspeed.accelerator import get_accelerator
from torch import Tensor

from sweeper.core.enough import MIN_MEASURED_STEPS, is_beaten, is_enough
from sweeper.core.spec import TrialSpec
from sweeper.core.statistics import has_settled
from sweeper.worker.failures import UnsupportedHere
from sweeper.worker.ledger import Ledger
from sweeper.worker.progress import Progress
from sweeper.worker.result import measured_result
from sweeper.worker.steps import (
    MAX_SKIPPED_STEPS,
    Clock,
    DivergedError,
    agreed,
)


class ScriptSteps:
    """The protocol of ``worker.steps``, with the script in the driver's seat.

    A step lasts from one synchronised boundary to the next, data and whatever else the script does in
    between included. ``end`` is called with the result as soon as enough is measured.
    """

    def __init__(
        self,
        engine: Any,
        spec: TrialSpec,
        progress: Progress,
        ledger: Ledger,
        end: Callable[[dict[str, Any]], NoReturn],
    ) -> None:
        self._engine, self._spec, self._progress, self._ledger = engine, spec, progress, ledger
        self._end = end
        self._synchronize = get_accelerator().synchronize
        self._warmup: list[float] = []
        self._timed: list[float] = []
        self._parts: dict[str, list[float]] = {}
        self._clock: Clock | None = None
        self._is_beaten = False
        self._losses: list[float] = []
        self._micro_losses: list[Tensor] = []
        self._loss_is_scaled = False
        self._num_skipped = self._skipped_in_a_row = 0
        self._passes: list[int] = []
        self._samples = 0
        self.failure: BaseException | None = None
        self._largest_micro_batch = 0
        self._tokens = 1
        self.samples_per_step = 0
        self._autocasts = False
        self._watch()
        progress.enter("warm-up")
        self._start = time.perf_counter()

    @property
    def facts(self) -> dict[str, Any]:
        """What the script was seen to feed: samples in a micro-batch (0: not seen), tokens in a sample."""
        return {
            "fed_micro_size": self._largest_micro_batch,
            "tokens": self._tokens,
            "autocasts": self._autocasts,
            "has_losses": bool(self._losses),
        }

    def early_result(self) -> dict[str, Any]:
        """Where the script ended before enough was measured. Raises UnsupportedHere where it is too little."""
        spec = self._spec
        seconds = [*self._warmup, *self._timed]
        timed = min(MIN_MEASURED_STEPS, spec.max_steps)
        if len(seconds) < spec.min_warmup_steps + timed:
            raise UnsupportedHere(
                f"the script ended after {len(seconds)} optimizer steps; at least "
                f"{spec.min_warmup_steps} to warm up and {timed} to time are needed: let it take more "
                "(script.args), or type measure=quick"
            )
        warmup = min(len(self._warmup), len(seconds) - timed)
        self._warmup, self._timed = seconds[:warmup], seconds[warmup:]
        self._ledger.close("steady")
        return self._result()

    def _watch(self) -> None:
        engine = self._engine
        forward, backward, step = engine.forward, engine.backward, engine.step

        @functools.wraps(forward)
        def watched_forward(*positional: Any, **named: Any) -> Any:
            if not (engine.training and torch.is_grad_enabled()):
                return forward(*positional, **named)
            self._look_at_inputs(positional, named)
            with self._part("forward"):
                return forward(*positional, **named)

        @functools.wraps(backward)
        def watched_backward(loss: Tensor, *positional: Any, **named: Any) -> Any:
            self._micro_losses.append(loss.detach())
            self._loss_is_scaled = named.get("scale_wrt_gas") is False
            self._end_micro_step()
            with self._part("backward"):
                return backward(loss, *positional, **named)

        @functools.wraps(step)
        def watched_step(*positional: Any, **named: Any) -> Any:
            before = engine.global_steps
            self._end_micro_step()  # of a loss.backward() that the engine was not asked for
            with self._part("optimizer"):
                answer = step(*positional, **named)
            if engine.global_steps > before:
                self._boundary()
            return answer

        engine.forward, engine.backward, engine.step = (
            watched_forward,
            watched_backward,
            watched_step,
        )

    @contextmanager
    def _part(self, name: str) -> Iterator[None]:
        """A script may swallow what fails in it: it is kept."""
        timing = nullcontext() if self._clock is None else self._clock.part(name, self._synchronize)
        try:
            with timing:
                yield
        except BaseException as error:
            self.failure = error
            raise

    def _look_at_inputs(self, positional: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        tensors = list(_tensors([*positional, named]))
        if tensors:
            self._passes.append(self._micro_size_among([len(tensor) for tensor in tensors]))
        for tensor in tensors:
            if tensor.dim() == 2 and not tensor.is_floating_point():
                self._tokens = max(self._tokens, tensor.shape[1])
                break
        device = get_accelerator().device_name()
        self._autocasts = self._autocasts or torch.is_autocast_enabled(device)

    def _end_micro_step(self) -> None:
        """One batch, however often it went forward before it went back."""
        if self._passes:
            samples = self._micro_size_among([max(self._passes), *self._passes])
            self._samples += samples
            self._largest_micro_batch = max(self._largest_micro_batch, samples)
            self._passes.clear()

    def _micro_size_among(self, sizes: Sequence[int]) -> int:
        """The configured one, whichever input has it; the first where none has: masks are inputs, too."""
        configured = int(self._engine.train_micro_batch_size_per_gpu())
        return configured if configured in sizes else sizes[0]

    def _boundary(self) -> None:
        self._synchronize()
        seconds = time.perf_counter() - self._start
        was_skipped = not self._engine.was_step_applied()
        is_partial = agreed(self._samples < self.samples_per_step)
        loss = self._take_loss()
        self.samples_per_step = max(self.samples_per_step, self._samples)
        self._samples = 0
        try:
            if was_skipped:
                self._skip()
            else:
                self._look_at_loss(loss)
                if not is_partial:  # the rest of an epoch's samples is no whole step
                    self._count(seconds)
        except DivergedError as error:
            self._end({"kind": "diverged", "phase": self._progress.phase, "reason": str(error)})
        dist.barrier()  # ranks start together; what one waits for another inside is its time
        self._synchronize()
        self._start = time.perf_counter()

    def _take_loss(self) -> float | None:
        """Of the whole step. A framework that scales the loss itself gives the micro-batches' shares."""
        losses, self._micro_losses = self._micro_losses, []
        if not losses:
            return None
        stacked = torch.stack([loss.float().mean() for loss in losses])
        return float(stacked.sum() if self._loss_is_scaled else stacked.mean())

    def _look_at_loss(self, loss: float | None) -> None:
        self._skipped_in_a_row = 0
        if loss is None:
            return
        self._losses.append(loss)
        if not math.isfinite(loss):
            raise DivergedError(f"the loss became {loss} in step {len(self._losses)}")

    def _skip(self) -> None:
        self._num_skipped += 1
        self._skipped_in_a_row += 1
        if self._clock is not None:
            self._clock.seconds.clear()
        if self._skipped_in_a_row >= MAX_SKIPPED_STEPS:
            raise DivergedError(f"loss scaling skipped {MAX_SKIPPED_STEPS} steps in a row")

    def _count(self, seconds: float) -> None:
        spec = self._spec
        match self._progress.phase:
            case "warm-up":
                self._warmup.append(seconds)
                self._progress.step(len(self._warmup), spec.max_warmup_steps)
                enough = len(self._warmup) >= spec.min_warmup_steps
                if len(self._warmup) >= spec.max_warmup_steps or (
                    enough and agreed(has_settled(self._warmup, within=spec.settled_within))
                ):
                    self._ledger.close("warm-up")
                    self._progress.device_bytes = self._ledger.largest("device_peak_reserved_bytes")
                    self._progress.enter("measure")
            case "measure":
                self._timed.append(seconds)
                self._progress.step(len(self._timed), spec.max_steps)
                if self._has_measured_enough():
                    self._ledger.close("steady")
                    self._go_on_to_parts()
            case "break-down":
                self._take_parts(seconds)

    def _has_measured_enough(self) -> bool:
        if len(self._timed) >= self._spec.max_steps:
            return True
        if len(self._timed) < MIN_MEASURED_STEPS:
            return False
        self._is_beaten = agreed(is_beaten(self._timed, self._spec))
        return self._is_beaten or agreed(is_enough(self._timed, self._spec))

    def _go_on_to_parts(self) -> None:
        if self._is_beaten or not self._spec.breakdown_steps:
            self._finish()
        self._progress.enter("break-down")
        self._clock = Clock()

    def _take_parts(self, seconds: float) -> None:
        assert self._clock is not None
        spent = self._clock.seconds
        for name, value in {**spent, "rest": max(seconds - sum(spent.values()), 0.0)}.items():
            self._parts.setdefault(name, []).append(value)
        taken = len(self._parts["rest"])
        self._progress.step(taken, self._spec.breakdown_steps)
        long = self._spec.max_seconds / 2
        if taken >= self._spec.breakdown_steps or agreed(seconds * taken > long):
            self._finish()
        self._clock = Clock()

    def _finish(self) -> NoReturn:
        dist.barrier()  # nobody leaves before all have heard
        self._end(self._result())

    def _result(self) -> dict[str, Any]:
        self._progress.enter("end")
        return measured_result(
            beaten=self._is_beaten,
            step_seconds=self._timed,
            warmup_step_seconds=self._warmup,
            breakdown_seconds=self._parts,
            skipped_steps=self._num_skipped,
            losses=self._losses,
            tokens_per_sample=self._spec.sequence_length,
            flops_per_step=None,
            ledger=self._ledger,
            progress=self._progress,
        )


def _tensors(values: Any) -> Iterator[Tensor]:
    """Those with a batch dimension, in order, out of lists and dictionaries."""
    if isinstance(values, Tensor):
        if values.dim():
            yield values
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from _tensors(value)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)
