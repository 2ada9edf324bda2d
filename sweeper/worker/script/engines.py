"""Which of a script's engines is tuned, what is seen of it, and when enough has been seen."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from deepspeed.accelerator import get_accelerator

from sweeper.core.ds_config_mistakes import OBJECTS
from sweeper.core.engine_check import contradictions, expected_of, optimizer_family
from sweeper.core.exported import layout_of_spec
from sweeper.core.files import write_json
from sweeper.core.folder import TrialFolder
from sweeper.core.script_config import without_side_effects
from sweeper.core.script_work import amount, is_same_amount, settled
from sweeper.core.spec import TrialSpec
from sweeper.worker.building import recompute
from sweeper.worker.ds_resolved import resolve
from sweeper.worker.engine_facts import Recomputation, facts_of_engine, refuse
from sweeper.worker.failures import (
    UnsupportedHere,
    chain,
    failure,
    ran_out_of_memory,
    text_of,
)
from sweeper.worker.ledger import Ledger
from sweeper.worker.limits import count_file_pages_from_here, lift_memory_limit
from sweeper.worker.progress import Progress
from sweeper.worker.script.deadline import Deadline
from sweeper.worker.script.facts import (
    can_switch_recomputation,
    has_batch_statistics,
    has_dropout,
    recomputes,
)
from sweeper.worker.script.loaders import DrawnSamples
from sweeper.worker.script.not_here import check
from sweeper.worker.script.steps import ScriptSteps
from sweeper.worker.script.substitution import Substitution, finite
from sweeper.worker.share import limit_memory

# A larger engine may step more seldom than one that has been seen enough of: a critic, a discriminator.
PATIENCE_STEPS = 64
# What DeepSpeed says of an engine that has none.
_NO_OPTIMIZER = "must provide optimizer during init"


@dataclass
class _Watched:
    """``number`` counts the engines as the script makes them, from 1."""

    number: int
    engine: Any
    facts: dict[str, Any]
    num_parameters: int
    steps: ScriptSteps | None = None
    result: dict[str, Any] | None = None


class TunedEngines:
    """The ``Engines`` of ``worker.script.deepspeed``.

    In a trial one engine is tuned, and ``end`` is called with its result. A script that runs as it is has all
    its engines watched that could train: the one with most parameters that does is the one to tune.
    """

    def __init__(
        self,
        spec: TrialSpec,
        folder: TrialFolder,
        progress: Progress,
        rank: int,
        *,
        substitution: Substitution,
        local_rank_option: Callable[[], str | None],
        end: Callable[[dict[str, Any]], None],
    ) -> None:
        assert spec.script is not None
        self._spec, self._script = spec, spec.script
        self._folder, self._progress, self._rank = folder, progress, rank
        self._substitution, self._end = substitution, end
        self._local_rank_option = local_rank_option
        self._accelerator = get_accelerator()
        self._drawn, self._recomputation = DrawnSamples(), Recomputation()
        self._watched: list[_Watched] = []
        self._next: dict[str, Any] | None = None
        self._num_made = self._steps_waited = 0
        self._had_no_optimizer = False
        self._ended = threading.Lock()
        self._is_limited = False
        self._deadline = Deadline()
        self._refused: BaseException | None = None
        self.failure: BaseException | None = None

    def watch(self) -> None:
        """Before the script begins."""
        self._drawn.watch()
        self._recomputation.watch()

    @property
    def has_any(self) -> bool:
        """Whether the script has made an engine."""
        return self._num_made > 0

    # What deepspeed.initialize asks and tells.

    def is_tuned(self, client_optimizer: Any, config: Mapping[str, Any]) -> bool:
        if not self._is_limited:
            self._deadline.lift()  # what DeepSpeed takes to make it, ops included, has the trial's own limits
        if self._script.engine is not None:
            return self._num_made + 1 == self._script.engine
        section = config.get("optimizer")
        names_one = isinstance(section, Mapping) and section.get("type")
        could_train = client_optimizer is not None or names_one
        self._had_no_optimizer = self._had_no_optimizer or not could_train
        return bool(could_train) and (self._script.as_it_is or not self._watched)

    def before(self, model: Any, config: dict[str, Any]) -> dict[str, Any]:
        self._progress.enter("initialize")
        quiet, switched_off = without_side_effects(config)
        if self._rank == 0:  # as a person can use it: what a framework leaves open is filled in
            write_json(self._folder.ds_config, finite(config))
        if self._accelerator.device_name() != "cpu":
            limit_memory(self._spec, self._accelerator)
        self._next = {
            "config": finite(config),
            "switched_off": list(switched_off),
            "has_dropout": has_dropout(model),
            "has_batch_statistics": has_batch_statistics(model),
            "can_switch_recomputation": can_switch_recomputation(model),
        }
        try:
            takes = self._substitution.takes
            check(config, is_batch_ours=takes("batch") or takes("workload"))
            if self._substitution.takes("checkpointing"):
                self._recompute(model)
        except UnsupportedHere as error:
            self._refuse(error)
        return quiet

    def made(self, engine: Any, own: Mapping[str, Any], client_optimizer: Any) -> None:
        self._num_made += 1
        self.failure = None  # of a try before this one
        if self._script.as_it_is:
            self._limit_seconds()
        model_facts, self._next = self._next, None
        if model_facts is None:
            return
        if hasattr(engine, "train_batch"):
            self._refuse(
                UnsupportedHere("a pipeline's engine takes its steps where they cannot be timed")
            )
        seen = facts_of_engine(engine)
        if self._substitution.acts:
            try:
                self._check_label(seen, own, client_optimizer)
            except UnsupportedHere as error:
                self._refuse(error)
        ledger = Ledger(self._accelerator)
        ledger.close("build")
        count_file_pages_from_here()
        if self._script.reseed:
            _draw_otherwise(self._spec.seed + self._script.reseed)
        resolved = resolve(own)
        watched = _Watched(
            number=self._num_made,
            engine=engine,
            facts={**model_facts, "resolved": resolved.to_json(), "engine": seen},
            num_parameters=sum(_whole_size(p) for p in engine.module.parameters()),
        )
        self._watched.append(watched)
        watched.steps = ScriptSteps(
            engine,
            self._spec,
            self._progress,
            ledger,
            drawn=self._drawn,
            recomputation=self._recomputation,
            end=lambda result: self._seen_enough(watched, result),
            checked=lambda: self._check_first_step(watched),
            failed=lambda error: self._part_failed(watched, error),
            goes_on=self._wait_a_step,
        )

    def failed(self, error: BaseException, refused: str) -> None:
        self._next = None
        self.failure = error
        if refused:
            self._refused, self.failure = error, UnsupportedHere(refused)
        self._end_out_of_memory(error)
        if self._script.as_it_is:
            self._limit_seconds()

    def why(self, error: BaseException) -> BaseException:
        """Of what ended the script: where that is a configuration that DeepSpeed refuses, what is wrong with it."""
        refused = self._refused is not None and any(e is self._refused for e in chain(error))
        if refused and self.failure is not None:
            return self.failure
        if not self._watched and self._had_no_optimizer and _NO_OPTIMIZER in text_of(error):
            return UnsupportedHere(
                "deepspeed.initialize is given no optimizer, and its configuration names none; write for example"
                f' "optimizer": {OBJECTS["optimizer"]} there'
            )
        return error

    # What is refused.

    def _refuse(self, error: UnsupportedHere) -> None:
        self._finish(failure(error, phase=self._progress.phase, limited=False))

    def _recompute(self, model: Any) -> None:
        on = recomputes(model)
        if self._spec.checkpoint_every_nth_block:
            if on is not True:
                recompute(model, layout_of_spec(self._spec))
        elif on is not False and can_switch_recomputation(model):
            model.gradient_checkpointing_disable()

    def _check_label(
        self, seen: Mapping[str, Any], own: Mapping[str, Any], client_optimizer: Any
    ) -> None:
        expected = expected_of(self._spec)
        optimizer = own.get("optimizer")
        if isinstance(client_optimizer, torch.optim.Optimizer):
            expected["optimizer"] = optimizer_family(type(client_optimizer).__name__)
        elif client_optimizer is None and isinstance(optimizer, Mapping) and optimizer.get("type"):
            expected["optimizer"] = optimizer_family(str(optimizer["type"]))
        refuse(contradictions(expected, seen))

    def _check_first_step(self, watched: _Watched) -> None:
        """What only a step shows."""
        steps = watched.steps
        if not self._substitution.acts or steps is None:
            return
        label = "full" if self._spec.checkpoint_every_nth_block else "none"
        seen = "full" if steps.recomputed else "none"
        try:
            refuse(contradictions({"checkpointing": label}, {"checkpointing": seen}))
        except UnsupportedHere as error:
            self._refuse(error)

    def _part_failed(self, watched: _Watched, error: BaseException) -> None:
        """A script may try again with less, which is another training: a trial ends with its own answer."""
        self.failure = error
        self._end_out_of_memory(error)
        if ran_out_of_memory(error, limited=True) is not None and watched in self._watched:
            assert watched.steps is not None
            watched.steps.is_over = True
            self._watched.remove(watched)
            self._num_made = watched.number - 1  # what it makes next stands in its place

    def _end_out_of_memory(self, error: BaseException) -> None:
        if self._substitution.acts and ran_out_of_memory(error, limited=True) is not None:
            limited = lift_memory_limit()
            self._finish(failure(error, phase=self._progress.phase, limited=limited))

    # When enough has been seen.

    def _seen_enough(self, watched: _Watched, result: dict[str, Any]) -> None:
        watched.result = result
        if not self._waits_for_a_larger_one(watched):
            self._finish(self._complete(self._largest_that_trains()))

    def _waits_for_a_larger_one(self, watched: _Watched) -> bool:
        return self._script.as_it_is and any(
            other.result is None and other.num_parameters > watched.num_parameters
            for other in self._watched
        )

    def _wait_a_step(self) -> None:
        """An engine that enough is seen of goes on while a larger one is waited for."""
        self._steps_waited += 1
        if self._steps_waited >= PATIENCE_STEPS:
            self._finish(self._complete(self._largest_that_trains()))

    def _largest_that_trains(self) -> _Watched:
        """Of those that are seen enough of, else of those that have stepped at all."""
        seen = [w for w in self._watched if w.result is not None]
        stepped = [w for w in self._watched if w.steps is not None and w.steps.steps]
        if not seen and not stepped:
            raise UnsupportedHere(self._why_none())
        return max(seen or stepped, key=lambda w: w.num_parameters)

    def _why_none(self) -> str:
        if self._watched:
            return "no engine of the script took an optimizer step"
        if self._script.engine is not None and self._num_made:
            return (
                f"script.engine={self._script.engine}: the script made {_engines(self._num_made)}; type"
                f" script.engine={self._num_made} or less"
            )
        return (
            f"the script made {_engines(self._num_made)} of DeepSpeed without an optimizer: there is no training"
            " to tune"
        )

    def early_result(self) -> dict[str, Any]:
        """Where the script has ended. Raises UnsupportedHere where it trained too little, or not at all."""
        watched = self._largest_that_trains()
        assert watched.steps is not None
        if watched.result is None:
            watched.result = watched.steps.early_result()
        return self._complete(watched)

    def limit_seconds(self) -> None:
        """No script trains on and on without being looked at: till its first engine, and from there on."""
        if not self._deadline.is_watched:
            self._deadline.set(self._script.probe_seconds, self._never_came)

    def _limit_seconds(self) -> None:
        if not self._is_limited:
            self._is_limited = True
            self._deadline.set(self._script.probe_seconds, self._seconds_are_over)

    def _never_came(self) -> None:
        error = UnsupportedHere(
            f"the script did not call deepspeed.initialize in {self._script.probe_seconds:g} s: only what trains"
            " with DeepSpeed can be tuned; type script.probe_seconds=<more> where it takes that long to get there"
        )
        self._finish(failure(error, phase=self._progress.phase, limited=False))

    def _seconds_are_over(self) -> None:
        taken = max((len(w.steps.steps) for w in self._watched if w.steps), default=0)
        try:
            result = self.early_result()
        except UnsupportedHere:
            error = UnsupportedHere(
                f"the script took {taken} optimizer steps in {self._script.probe_seconds:g} s after"
                " deepspeed.initialize, and more are needed to look at it; type script.probe_seconds=<more>"
                " where that is how long it takes"
            )
            told: BaseException = self.failure or error
            if self.failure is None and self._num_made and not self._watched:
                told = UnsupportedHere(self._why_none())
            result = failure(told, phase=self._progress.phase, limited=False)
        except Exception as error:  # nobody else ends the script
            result = failure(error, phase=self._progress.phase, limited=False)
        self._finish(result)

    def _finish(self, result: dict[str, Any]) -> None:
        self._ended.acquire()  # for good: one end is enough
        self._end(result)

    # What is told.

    def _complete(self, watched: _Watched) -> dict[str, Any]:
        """With what was seen of the script; a trial of other work than the study's is none."""
        lift_memory_limit()
        assert watched.steps is not None
        assert watched.result is not None
        result = watched.result
        if self._substitution.acts and result["kind"] == "measured":
            why = _other_work(watched.steps, self._spec)
            if why:
                result = {"kind": "unsupported", "phase": "end", "reason": why}
        return {**result, "script": self._facts_of(watched)}

    def _facts_of(self, watched: _Watched) -> dict[str, Any]:
        assert watched.steps is not None
        seen = watched.facts["engine"]
        return {
            **watched.facts,
            **watched.steps.facts,
            **self._substitution.shown.facts,
            "recomputes": watched.steps.recomputed,
            "micro_size": seen["batch.micro_size"],
            "accumulation_steps": seen["accumulation steps"],
            "data_parallel": seen["data-parallel ranks"],
            "dtypes": seen["dtypes"],
            "local_rank_option": self._local_rank_option(),
            "number": watched.number,
            "num_engines": self._num_made,
            "trained": [
                {"number": w.number, "parameters": w.num_parameters}
                for w in self._watched
                if w.steps is not None and w.steps.steps
            ],
        }


def _other_work(steps: ScriptSteps, spec: TrialSpec) -> str:
    """Why a trial's steps are not the study's; "" where they are, or where nobody can tell."""
    script = spec.script
    assert script is not None
    if script.samples in (None, "as_configured") or not script.units_per_sample:
        return ""
    seen = amount(steps.steps, script.samples)
    if seen is None:
        seen = max((getattr(s, script.samples) or 0 for s in settled(steps.steps)), default=0)
    trained = seen / script.units_per_sample
    if is_same_amount(script.samples, trained, spec.global_batch_size):
        return ""
    return (
        f"the script trains {trained:.6g} samples in an optimizer step, not {spec.global_batch_size}: it does "
        "not take its micro-batch size from outside; pass it on with {micro_batch} in script.args"
    )


def _engines(number: int) -> str:
    return f"{number} engine{'' if number == 1 else 's'}"


def _whole_size(parameter: Any) -> int:
    """Stage 3 leaves each rank a part of it."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def _draw_otherwise(seed: int) -> None:
    """Random numbers of the training from here on; weights and order of the samples are made by now."""
    random.seed(seed)
    torch.manual_seed(seed)
