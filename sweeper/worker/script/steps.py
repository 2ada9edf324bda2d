"""Times the optimizer steps that a user's script takes, at its engine."""

from __future__ import annotations

import functools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from deepspeed import comm as dist
from deepspeed.accelerator import get_accelerator
from torch import Tensor

from sweeper.core.enough import MIN_MEASURED_STEPS, is_beaten, is_enough
from sweeper.core.script_work import StepWork
from sweeper.core.spec import TrialSpec
from sweeper.core.statistics import has_settled
from sweeper.worker.engine_facts import Recomputation
from sweeper.worker.failures import UnsupportedHere
from sweeper.worker.ledger import Ledger
from sweeper.worker.progress import Progress
from sweeper.worker.result import measured_result
from sweeper.worker.script.loaders import DrawnSamples
from sweeper.worker.script.work import Work
from sweeper.worker.steps import (
    MAX_SKIPPED_STEPS,
    Clock,
    DivergedError,
    agreed,
)

# Whose work and losses are told, of the first ones.
MAX_STEPS_TOLD = 32


class ScriptSteps:
    """The protocol of ``worker.steps``, with the script in the driver's seat.

    A step lasts from one synchronised boundary to the next, data and whatever else the script does in
    between included. ``end`` is called with the result as soon as enough is measured; where it returns, the
    steps after it are the script's alone, and ``goes_on`` is told of each. ``checked`` is told once that the first step has been taken, ``failed``
    what a part of a step raised: the script may swallow it.
    """

    def __init__(
        self,
        engine: Any,
        spec: TrialSpec,
        progress: Progress,
        ledger: Ledger,
        *,
        drawn: DrawnSamples,
        recomputation: Recomputation,
        end: Callable[[dict[str, Any]], None],
        checked: Callable[[], None] = lambda: None,
        failed: Callable[[BaseException], None] = lambda error: None,
        goes_on: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine, self._spec, self._progress, self._ledger = engine, spec, progress, ledger
        self._end, self._checked, self._failed, self._goes_on = end, checked, failed, goes_on
        self._recomputation = recomputation
        self.recomputed = False
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
        micro_size = int(engine.train_micro_batch_size_per_gpu())
        assert spec.script is not None
        self._work = Work(micro_size, drawn, looks_closely=spec.script.as_it_is)
        self._timed_tokens: list[int | None] = []
        self.steps: list[StepWork] = []
        self.failure: BaseException | None = None
        self._autocasts = False
        self._sets_boundary = False
        self.is_over = False
        drawn.models.append(engine.module)
        self._watch()
        self._enter("warm-up")
        self._start = time.perf_counter()

    def _enter(self, phase: str) -> None:
        self._phase = phase
        self._progress.enter(phase)

    @property
    def facts(self) -> dict[str, Any]:
        """What the script was seen to do; the work of its first steps."""
        return {
            "work": [step.to_json() for step in self.steps[:MAX_STEPS_TOLD]],
            "autocasts": self._autocasts,
            "has_losses": bool(self._losses),
            "losses": self._losses[:MAX_STEPS_TOLD],
            "sets_boundary": self._sets_boundary,
        }

    def early_result(self) -> dict[str, Any]:
        """Where the script ended before enough was measured. Raises UnsupportedHere where it is too little."""
        spec = self._spec
        seconds = [*self._warmup, *self._timed]
        timed = min(MIN_MEASURED_STEPS, spec.max_steps)
        if len(seconds) < spec.min_warmup_steps + timed:
            quick = ", or type measure=quick" if spec.min_warmup_steps > 1 else ""
            raise UnsupportedHere(
                f"the script ended after {len(seconds)} optimizer steps; at least "
                f"{spec.min_warmup_steps} to warm up and {timed} to time are needed: let it take more "
                f"(script.args){quick}"
            )
        warmup = min(len(self._warmup), len(seconds) - timed)
        self._warmup, self._timed = seconds[:warmup], seconds[warmup:]
        self._ledger.close("steady")
        return self._result()

    @property
    def num_steps(self) -> int:
        """Whole optimizer steps so far."""
        return len(self._warmup) + len(self._timed)

    def _watch(self) -> None:
        engine = self._engine
        forward, backward, step = engine.forward, engine.backward, engine.step
        set_boundary = getattr(engine, "set_gradient_accumulation_boundary", None)

        @functools.wraps(forward)
        def watched_forward(*positional: Any, **named: Any) -> Any:
            if not (engine.module.training and torch.is_grad_enabled()) or self.is_over:
                return forward(*positional, **named)
            self._look_at_inputs(positional, named)
            before = self._recomputation.count
            with self._part("forward"):
                output = forward(*positional, **named)
            self.recomputed = self.recomputed or self._recomputation.count > before
            return output

        @functools.wraps(backward)
        def watched_backward(loss: Tensor, *positional: Any, **named: Any) -> Any:
            if self.is_over:
                return backward(loss, *positional, **named)
            if isinstance(loss, Tensor):  # DeepSpeed says what else is wrong
                self._micro_losses.append(loss.detach())
            self._loss_is_scaled = named.get("scale_wrt_gas") is False
            self._work.backward()
            with self._part("backward"):
                return backward(loss, *positional, **named)

        @functools.wraps(step)
        def watched_step(*positional: Any, **named: Any) -> Any:
            before = engine.global_steps
            if self.is_over:
                answer = step(*positional, **named)
                if engine.global_steps > before:
                    self._goes_on()
                return answer
            self._work.end_micro_step()  # of a loss.backward() that the engine was not asked for
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
        if set_boundary is not None:

            @functools.wraps(set_boundary)
            def watched_boundary(*positional: Any, **named: Any) -> Any:
                self._sets_boundary = True
                return set_boundary(*positional, **named)

            engine.set_gradient_accumulation_boundary = watched_boundary

    @contextmanager
    def _part(self, name: str) -> Iterator[None]:
        """A script may swallow what fails in it: it is kept."""
        timing = nullcontext() if self._clock is None else self._clock.part(name, self._synchronize)
        try:
            with timing:
                yield
        except BaseException as error:
            self.failure = error
            self._failed(error)
            raise

    def _look_at_inputs(self, positional: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        self._work.forward(positional, named)
        device = get_accelerator().device_name()
        self._autocasts = self._autocasts or torch.is_autocast_enabled(device)

    def _boundary(self) -> None:
        self._synchronize()
        seconds = time.perf_counter() - self._start
        was_skipped = not self._engine.was_step_applied()
        work = self._work.take()
        is_partial = self._is_partial(work)
        self.steps.append(work)
        loss = self._take_loss()
        if len(self.steps) == 1:
            self._checked()
        try:
            if was_skipped:
                self._skip()
            else:
                self._look_at_loss(loss)
                if not is_partial:  # the rest of an epoch's samples is no whole step
                    self._count(seconds, work)
        except DivergedError as error:
            self._end({"kind": "diverged", "phase": self._phase, "reason": str(error)})
        dist.barrier()  # ranks start together; what one waits for another inside is its time
        self._synchronize()
        self._start = time.perf_counter()

    def _is_partial(self, work: StepWork) -> bool:
        """Of fewer samples than the steps before it; where a loader is read ahead the first has more."""
        before = [step.drawn for step in self.steps[1:]] or [step.drawn for step in self.steps[:1]]
        known = [drawn for drawn in before if drawn is not None]
        if work.drawn is not None and len(self.steps) > 1:
            return bool(known) and work.drawn < min(known) and len(set(known)) == 1
        rows = [step.rows or 0 for step in self.steps]
        return work.drawn is None and (work.rows or 0) < max(rows, default=0)

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

    def _count(self, seconds: float, work: StepWork) -> None:
        spec = self._spec
        match self._phase:
            case "warm-up":
                self._warmup.append(seconds)
                self._progress.step(len(self._warmup), spec.max_warmup_steps)
                enough = len(self._warmup) >= spec.min_warmup_steps
                if len(self._warmup) >= spec.max_warmup_steps or (
                    enough and agreed(has_settled(self._warmup, within=spec.settled_within))
                ):
                    self._ledger.close("warm-up")
                    self._progress.device_bytes = self._ledger.largest("device_peak_reserved_bytes")
                    self._enter("measure")
            case "measure":
                self._timed.append(seconds)
                self._timed_tokens.append(work.tokens)
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
            return
        self._enter("break-down")
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
            return
        self._clock = Clock()

    def _finish(self) -> None:
        dist.barrier()  # nobody leaves before all have heard
        self.is_over = True
        self._end(self._result())

    def _result(self) -> dict[str, Any]:
        self._enter("end")
        return measured_result(
            beaten=self._is_beaten,
            step_seconds=self._timed,
            warmup_step_seconds=self._warmup,
            breakdown_seconds=self._parts,
            skipped_steps=self._num_skipped,
            losses=self._losses,
            tokens_per_step=self._tokens_per_step(),
            flops_per_step=None,
            ledger=self._ledger,
            progress=self._progress,
        )

    def _tokens_per_step(self) -> int:
        """As many as the baseline's, but where they differ from step to step: then those of the timed ones."""
        spec = self._spec
        known = [tokens for tokens in self._timed_tokens if tokens is not None]
        assert spec.script is not None
        if spec.script.steps_grow and known:
            return round(statistics.fmean(known))
        return spec.global_batch_size * spec.sequence_length
