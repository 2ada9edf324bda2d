"""Runs and times whole optimizer steps of an engine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from deepspeed import comm as dist
from deepspeed.accelerator import get_accelerator
from torch import Tensor

from sweeper.core.enough import MIN_MEASURED_STEPS, is_beaten, is_enough
from sweeper.core.spec import TrialSpec
from sweeper.core.statistics import has_settled
from sweeper.worker.batches import Batches
from sweeper.worker.building import Training
from sweeper.worker.feed import loss_of
from sweeper.worker.progress import Progress

MAX_SKIPPED_STEPS = 30  # by then dynamic loss scaling has come down by 2**30


class DivergedError(Exception):
    """The training went where no measurement makes sense; the message is the reason."""


@dataclass
class Clock:
    """Seconds by part of a step."""

    seconds: dict[str, float] = field(default_factory=dict)

    def part(self, name: str, synchronize: Callable[[], None]) -> _Part:
        return _Part(self, name, synchronize)


class _Part(AbstractContextManager[None]):
    def __init__(self, clock: Clock, name: str, synchronize: Callable[[], None]) -> None:
        self._clock, self._name, self._synchronize = clock, name, synchronize

    def __enter__(self) -> None:
        self._synchronize()
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._synchronize()
        spent = time.perf_counter() - self._start
        self._clock.seconds[self._name] = self._clock.seconds.get(self._name, 0.0) + spent


class Steps:
    """``losses`` has this rank's mean loss of each step that was applied, in order."""

    def __init__(self, training: Training, batches: Batches, progress: Progress) -> None:
        self._engine = training.engine
        self._split = training.split
        self._loss = training.loss
        self._loss_factor = training.loss_factor
        self._batches = batches
        self._progress = progress
        self._synchronize = get_accelerator().synchronize
        self._batch_number = 0
        self.losses: list[float] = []
        self.num_skipped = 0
        self.was_beaten = False

    def warm_up(self, spec: TrialSpec) -> list[float]:
        """Steps until their time has settled: at least ``min_warmup_steps``, at most ``max_warmup_steps``."""
        seconds: list[float] = []
        while len(seconds) < spec.max_warmup_steps:
            enough = len(seconds) >= spec.min_warmup_steps
            if enough and agreed(has_settled(seconds, within=spec.settled_within)):
                break
            self._progress.step(len(seconds) + 1, spec.max_warmup_steps)
            seconds.append(self._applied())
        return seconds

    def measure(self, spec: TrialSpec) -> list[float]:
        """Steps until the median's interval is as narrow as asked, or a cap on steps or seconds is reached.

        Or until even the fast end of the interval is too slow to matter.
        """
        seconds: list[float] = []
        while len(seconds) < spec.max_steps:
            if len(seconds) >= MIN_MEASURED_STEPS:
                self.was_beaten = agreed(is_beaten(seconds, spec))
                if self.was_beaten or agreed(is_enough(seconds, spec)):
                    break
            self._progress.step(len(seconds) + 1, spec.max_steps)
            seconds.append(self._applied())
        return seconds

    def break_down(self, spec: TrialSpec) -> dict[str, list[float]]:
        """Forward, backward, optimizer and rest of a few steps more, each with a synchronisation of its own.

        That slows them down: they are not among the measured ones.
        """
        parts: dict[str, list[float]] = {}
        spent = 0.0
        for number in range(spec.breakdown_steps):
            if number and agreed(spent > spec.max_seconds / 2):
                break
            self._progress.step(number + 1, spec.breakdown_steps)
            clock = Clock()
            whole = self._applied(clock)
            spent += whole
            clock.seconds["rest"] = max(whole - sum(clock.seconds.values()), 0.0)
            for name, seconds in clock.seconds.items():
                parts.setdefault(name, []).append(seconds)
        return parts

    def _applied(self, clock: Clock | None = None) -> float:
        """Takes steps until the optimizer applied one; that one's seconds.

        Raises DivergedError where loss scaling skips on and on, or the loss is no number.
        """
        for _ in range(MAX_SKIPPED_STEPS):
            skipped_before = self._engine.skipped_steps
            seconds, loss = self._step(clock)
            if self._engine.skipped_steps > skipped_before:
                self.num_skipped += 1
                if clock is not None:
                    clock.seconds.clear()
                continue
            self.losses.append(loss)
            if not math.isfinite(loss):
                raise DivergedError(f"the loss became {loss} in step {len(self.losses)}")
            return seconds
        raise DivergedError(f"loss scaling skipped {MAX_SKIPPED_STEPS} steps in a row")

    def _scaled(self, loss: Tensor) -> Tensor:
        return loss if self._loss_factor == 1.0 else loss * self._loss_factor

    def _step(self, clock: Clock | None) -> tuple[float, float]:
        def part(name: str) -> AbstractContextManager[None]:
            return nullcontext() if clock is None else clock.part(name, self._synchronize)

        # On the device before the clock starts, as a loader that prefetches has them.
        micro_batches = self._batches.micro_batches(self._batch_number)
        dist.barrier()  # ranks start together; what one waits for another inside is its time
        self._synchronize()
        start = time.perf_counter()
        if self._split is not None:  # a pipeline's parts overlap: its step is timed as a whole
            loss = self._engine.train_batch(map(self._split, micro_batches))
        else:
            losses = []
            for batch in micro_batches:
                with part("forward"):
                    loss = loss_of(self._engine, batch, self._loss)
                with part("backward"):
                    self._engine.backward(self._scaled(loss))
                with part("optimizer"):
                    self._engine.step()
                losses.append(loss.detach())
            loss = torch.stack(losses).float().mean()
        self._synchronize()
        seconds = time.perf_counter() - start
        self._batch_number += 1
        return seconds, float(loss)


def agreed(condition: bool) -> bool:
    """Rank 0's answer, on every rank: clocks differ, and a rank that stops alone hangs the others."""
    answer = torch.tensor([int(condition)], device=get_accelerator().current_device_name())
    dist.broadcast(answer, src=0)
    return bool(answer.item())
