"""Steps that a script takes at its engine, timed from outside; the engine is a fake."""

from dataclasses import replace

import pytest
import torch

from sweeper.core.plan import plan
from sweeper.worker.failures import UnsupportedHere
from sweeper.worker.ledger import Ledger
from sweeper.worker.progress import Progress
from sweeper.worker.script import steps as steps_module
from sweeper.worker.script.steps import ScriptSteps
from tests.support import MACHINE, nano

ACCUMULATION = 2


class FakeEngine:
    """Counts as DeepSpeed's does; ``skips`` are the optimizer steps that overflow."""

    def __init__(self, skips=(), micro_size=4):
        self.training = True
        self.global_steps = self._micro_steps = 0
        self._skips, self._micro_size = skips, micro_size

    def __call__(self, *inputs, **named):
        return self.forward(*inputs, **named)

    def train_micro_batch_size_per_gpu(self):
        return self._micro_size

    def forward(self, ids, mask=None):
        return ids.float().mean()

    def backward(self, loss, scale_wrt_gas=True):
        return loss

    def step(self):
        self._micro_steps += 1
        self._applied = False
        if self._micro_steps % ACCUMULATION == 0:
            self._applied = self.global_steps not in self._skips
            self.global_steps += 1

    def was_step_applied(self):
        return self._applied


class Ended(BaseException):
    """In the place of the end of the process."""


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """Makes an engine that is watched, and the list that its result ends in."""
    monkeypatch.setattr(steps_module, "agreed", bool)
    monkeypatch.setattr(steps_module.dist, "barrier", lambda: None)

    class Accelerator:
        def synchronize(self): ...
        def device_name(self):
            return "cpu"

    monkeypatch.setattr(steps_module, "get_accelerator", Accelerator)

    def make(engine, **limits):
        spec = replace(
            plan(nano(), MACHINE).ready,
            **{"min_warmup_steps": 1, "max_warmup_steps": 1, "max_steps": 3, **limits},
        )
        results = []

        def end(result):
            results.append(result)
            raise Ended

        progress = Progress(tmp_path / "progress.json")
        steps = ScriptSteps(engine, spec, progress, Ledger(Accelerator()), end)
        return steps, results

    return make


def train(engine, steps, *, samples=4, tokens=16, **how):
    """Until it is ended; ``samples`` of each micro-batch, or a function of the step's number."""
    try:
        for number in range(steps):
            size = samples(number) if callable(samples) else samples
            for _ in range(ACCUMULATION):
                loss = engine(torch.full((size, tokens), number))
                engine.backward(loss, **how)
                engine.step()
    except Ended:
        return


def test_a_run_is_ended_as_soon_as_enough_is_measured(watched):
    engine = FakeEngine()
    _, results = watched(engine, breakdown_steps=0)
    train(engine, 100)
    (result,) = results
    assert (1, 3, 4) == (
        len(result["warmup_step_seconds"]),
        len(result["step_seconds"]),
        engine.global_steps,
    )
    assert [0.0, 1.0, 2.0, 3.0] == result["losses"]


def test_further_steps_are_taken_apart(watched):
    engine = FakeEngine()
    _, results = watched(engine, breakdown_steps=2)
    train(engine, 100)
    parts = results[0]["breakdown_seconds"]
    assert {"forward", "backward", "optimizer", "rest"} == set(parts)
    assert all(len(seconds) == 2 for seconds in parts.values())


def test_a_skipped_step_is_counted_apart(watched):
    engine = FakeEngine(skips=(0, 2))
    _, results = watched(engine, breakdown_steps=0)
    train(engine, 100)
    assert (2, [1.0, 3.0, 4.0, 5.0]) == (results[0]["skipped_steps"], results[0]["losses"])


def test_a_step_with_the_rest_of_an_epochs_samples_is_not_timed(watched):
    engine = FakeEngine()
    _, results = watched(engine, breakdown_steps=0)
    train(engine, 100, samples=lambda number: 1 if number == 2 else 4)
    assert 5 == engine.global_steps
    assert 3 == len(results[0]["step_seconds"])


def test_a_loss_that_a_framework_has_scaled_is_summed_up(watched):
    engine = FakeEngine()
    _, results = watched(engine, breakdown_steps=0)
    train(engine, 100, scale_wrt_gas=False)
    assert [0.0, 2.0, 4.0, 6.0] == results[0]["losses"]


def test_evaluation_between_steps_is_not_taken_for_training(watched):
    engine = FakeEngine()
    steps, _ = watched(engine)
    with torch.no_grad():
        engine(torch.zeros(64, 16))
    engine.backward(engine(torch.zeros(4, 16, dtype=torch.long)).float())
    assert (4, 16) == (steps.facts["fed_micro_size"], steps.facts["tokens"])


@pytest.mark.parametrize(
    ("given", "named", "fed"),
    [
        ([(4, 16)], {"mask": (32, 32)}, 4),
        ([(32, 32), (4, 16)], {}, 4),
        ([(3, 16)], {"mask": (32, 32)}, 3),
        ([], {"ids": (3, 16), "mask": (32, 32)}, 3),
    ],
    ids=["a mask by name", "a mask before the batch", "another size", "all by name"],
)
def test_an_input_that_is_not_the_batch_does_not_say_its_size(watched, given, named, fed):
    engine = FakeEngine(micro_size=4)
    engine.forward = lambda *_, **__: torch.zeros(())
    steps, _ = watched(engine)
    for _ in range(ACCUMULATION):
        engine.backward(
            engine.forward(
                *map(torch.zeros, given), **{n: torch.zeros(s) for n, s in named.items()}
            )
        )
        engine.step()
    assert (fed, fed * ACCUMULATION) == (steps.facts["fed_micro_size"], steps.samples_per_step)


@pytest.mark.parametrize("by_the_engine", [True, False])
def test_two_passes_before_one_backward_are_one_micro_batch(watched, by_the_engine):
    engine = FakeEngine()
    steps, _ = watched(engine)
    for _ in range(ACCUMULATION):
        chosen, rejected = engine(torch.zeros(4, 16)), engine(torch.zeros(4, 16))
        if by_the_engine:
            engine.backward(chosen - rejected)
        engine.step()
    assert (4, 4 * ACCUMULATION) == (steps.facts["fed_micro_size"], steps.samples_per_step)


def test_passages_are_not_counted_with_the_questions_that_they_belong_to(watched):
    engine = FakeEngine(micro_size=4)
    steps, _ = watched(engine)
    questions, passages = engine(torch.zeros(4, 16)), engine(torch.zeros(32, 16))
    engine.backward(questions - passages)
    assert 4 == steps.facts["fed_micro_size"]


def test_a_loss_that_is_no_number_ends_the_run_as_diverged(watched):
    engine = FakeEngine()
    _, results = watched(engine)
    engine.backward(torch.tensor(float("nan")))
    engine.step()
    engine.backward(torch.tensor(float("nan")))
    with pytest.raises(Ended):
        engine.step()
    assert "diverged" == results[0]["kind"]


def test_a_script_that_ends_early_is_measured_from_what_it_took_where_that_is_enough(watched):
    engine = FakeEngine()
    steps, _ = watched(engine, max_warmup_steps=3, settled_within=-10.0, max_steps=20)
    train(engine, 5)
    result = steps.early_result()
    assert (2, 3) == (len(result["warmup_step_seconds"]), len(result["step_seconds"]))


def test_a_script_that_ends_too_early_is_told_what_is_needed(watched):
    engine = FakeEngine()
    steps, _ = watched(engine, max_steps=20)
    train(engine, 2)
    with pytest.raises(UnsupportedHere, match=r"after 2 optimizer steps; at least 1 .* 3 to time"):
        steps.early_result()


def test_what_fails_in_the_engine_is_kept_for_a_script_that_swallows_it(watched):
    engine = FakeEngine()
    steps, _ = watched(engine)
    with pytest.raises(AttributeError):
        engine("no tensor")
    assert isinstance(steps.failure, AttributeError)
