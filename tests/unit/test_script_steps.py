"""Steps that a script takes at its engine, timed from outside; the engine is a fake."""

import pytest

pytest.importorskip("torch")

from dataclasses import dataclass, replace
from types import SimpleNamespace

import torch
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter

from sweeper.core.plan import plan
from sweeper.core.script import ScriptSpec
from sweeper.worker.engine_facts import Recomputation
from sweeper.worker.failures import UnsupportedHere
from sweeper.worker.ledger import Ledger
from sweeper.worker.progress import Progress
from sweeper.worker.script import steps as steps_module
from sweeper.worker.script.loaders import DrawnSamples
from sweeper.worker.script.steps import ScriptSteps
from sweeper.worker.script.work import tensors_in
from tests.support import MACHINE, nano

ACCUMULATION = 2


class FakeEngine:
    """Counts as DeepSpeed's does; ``skips`` are the optimizer steps that overflow."""

    def __init__(self, skips=(), micro_size=4):
        self.module = SimpleNamespace(training=True)
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
    for name in ("_next_index", "__next__", "_reset"):  # what is watched is put back
        monkeypatch.setattr(_BaseDataLoaderIter, name, getattr(_BaseDataLoaderIter, name))

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
        script = ScriptSpec(path="train.py", arguments="", folder=".", as_it_is=True)
        results = []

        def end(result):
            results.append(result)
            raise Ended

        steps = ScriptSteps(
            engine,
            replace(spec, script=script),
            Progress(tmp_path / "progress.json"),
            Ledger(Accelerator()),
            drawn=DrawnSamples(),
            recomputation=Recomputation(),
            end=end,
        )
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


def train_a_step(engine, loss):
    for _ in range(ACCUMULATION):
        engine.backward(loss())
        engine.step()


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
    train_a_step(engine, lambda: engine(torch.zeros(4, 16, dtype=torch.long)).float())
    (work,) = steps.steps
    assert (8, 8 * 16) == (work.rows, work.tokens)


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
    train_a_step(
        engine,
        lambda: engine.forward(
            *map(torch.zeros, given), **{n: torch.zeros(s) for n, s in named.items()}
        ),
    )
    assert fed * ACCUMULATION == steps.steps[0].rows


@pytest.mark.parametrize("by_the_engine", [True, False])
def test_two_passes_before_one_backward_are_one_micro_batch(watched, by_the_engine):
    engine = FakeEngine()
    steps, _ = watched(engine)
    for _ in range(ACCUMULATION):
        chosen, rejected = engine(torch.zeros(4, 16)), engine(torch.zeros(4, 16))
        if by_the_engine:
            engine.backward(chosen - rejected)
        engine.step()
    assert 4 * ACCUMULATION == steps.steps[0].rows


def test_passages_are_not_counted_with_the_questions_that_they_belong_to(watched):
    engine = FakeEngine(micro_size=4)
    steps, _ = watched(engine)
    train_a_step(engine, lambda: engine(torch.zeros(4, 16)) - engine(torch.zeros(32, 16)))
    assert 4 * ACCUMULATION == steps.steps[0].rows


def test_samples_are_counted_where_they_are_drawn_whatever_becomes_of_them(watched):
    engine = FakeEngine(micro_size=4)
    steps, _ = watched(engine)
    steps._work._drawn.watch()
    loader = iter(DataLoader(range(64), batch_size=4, collate_fn=lambda ids: ids))
    for _ in range(2):  # each batch is one row of all its samples
        train_a_step(engine, lambda: engine(torch.tensor([next(loader)])).float())
    assert [8, 8] == [work.drawn for work in steps.steps]
    assert [2, 2] == [work.rows for work in steps.steps]


@dataclass
class Batch:
    ids: torch.Tensor
    more: object = None


@pytest.mark.parametrize(
    "batch",
    [
        Batch(torch.zeros(3, 5, dtype=torch.long)),
        SimpleNamespace(inside=Batch(torch.zeros(3, 5, dtype=torch.long))),
        {"a": [Batch(torch.zeros(3, 5, dtype=torch.long))]},
    ],
    ids=["a dataclass", "an object in an object", "in a list in a dictionary"],
)
def test_tensors_are_found_in_objects_of_the_scripts_own(batch):
    assert [(3, 5)] == [tuple(tensor.shape) for tensor in tensors_in([batch])]


def test_passes_of_different_numbers_of_targets_are_told(watched):
    engine = FakeEngine()
    engine.forward = lambda *_, **__: torch.zeros(())
    steps, _ = watched(engine)
    labels = [torch.tensor([[1, 2, 3]]), torch.tensor([[1, -100, -100]])]
    train_a_step(engine, lambda: engine.forward(labels=labels.pop()))
    assert steps.steps[0].unequal


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
