"""What is seen of scripts that feed, step and draw otherwise than most: by evidence, or not known."""

import pytest

from sweeper.core.outcome import Measured, OutOfMemory, Unsupported
from tests.real.scripts import tune

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

SIZES = ("batch.micro_size=choice(2,4,8)", "hydra.sweeper.n_trials=3")
HEAD = """
from collections import namedtuple
from dataclasses import dataclass
import deepspeed, torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

torch.manual_seed(0)
ADAM = {"type": "AdamW", "params": {"lr": 1e-3, "torch_adam": True}}
CONFIG = {
    "train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 2, "optimizer": ADAM
}
inputs, targets = torch.randn(4096, 16), torch.randn(4096, 1)

def engine_of(model, config=CONFIG, **more):
    return deepspeed.initialize(
        model=model, model_parameters=model.parameters(), config=config, **more
    )[0]

def train(engine, batches, loss_of):
    for batch in batches:
        engine.backward(loss_of(batch))
        engine.step()

class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(16, 1)
"""
FOLLOWS = {
    "an object of the script's own": """
@dataclass
class Batch:
    x: torch.Tensor
    y: torch.Tensor
class Net(Inner):
    def forward(self, batch):
        return F.mse_loss(self.layer(batch.x), batch.y)
engine = engine_of(Net())
loader = DataLoader(TensorDataset(inputs, targets), engine.train_micro_batch_size_per_gpu(),
                    collate_fn=lambda pairs: Batch(*map(torch.stack, zip(*pairs))))
train(engine, loader, engine)
""",
    "time first, sliced by hand": """
class Net(Inner):
    def forward(self, x, y):
        return F.mse_loss(self.layer(x).mean(0), y)
engine = engine_of(Net())
size = engine.train_micro_batch_size_per_gpu()
rows = torch.randn(9, 4096, 16)
batches = ((rows[:, at:at + size], targets[at:at + size]) for at in range(0, 4096, size))
train(engine, batches, lambda batch: engine(*batch))
""",
    "an iterable dataset": """
class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(inputs, targets))
engine = engine_of(nn.Linear(16, 1))
loader = DataLoader(Stream(), batch_size=engine.train_micro_batch_size_per_gpu())
train(engine, loader, lambda batch: F.mse_loss(engine(batch[0]), batch[1]))
""",
    "a named tuple, in pairs of rows": """
Pair = namedtuple("Pair", "rows")
class Net(Inner):
    def forward(self, pair):
        a, b = self.layer(pair.rows).chunk(2)
        return -F.logsigmoid(a - b).mean()
engine = engine_of(Net())
loader = DataLoader(inputs, engine.train_micro_batch_size_per_gpu(),
                    collate_fn=lambda rows: Pair(torch.stack([*rows, *[-r for r in rows]])))
train(engine, loader, engine)
""",
}
LEFT_OUT = {
    "a constant of the script": (
        """
engine = engine_of(nn.Linear(16, 1))
loader = DataLoader(TensorDataset(inputs, targets), batch_size=4)
train(engine, loader, lambda batch: F.mse_loss(engine(batch[0]), batch[1]))
""",
        "draws 4 samples in a step, not 8",
    ),
    "whole batches and an object without tensors": (
        """
class Opaque:
    __slots__ = ("make",)
    def __init__(self, make):
        self.make = make
class Net(Inner):
    def forward(self, batch):
        x, y = batch.make()
        return F.mse_loss(self.layer(x), y)
engine = engine_of(Net())
chunks = [(inputs[at:at + 4], targets[at:at + 4]) for at in range(0, 4096, 4)]
loader = DataLoader(chunks, batch_size=None, collate_fn=lambda pair: Opaque(lambda: pair))
train(engine, loader, engine)
""",
        "nothing shows how many samples",
    ),
    "negatives within the batch": (
        """
class Net(Inner):
    def forward(self, x):
        a = F.normalize(self.layer.weight * x, dim=-1)
        return F.cross_entropy(a @ F.normalize(x, dim=-1).T * 5, torch.arange(len(x)))
engine = engine_of(Net())
loader = DataLoader(inputs, batch_size=engine.train_micro_batch_size_per_gpu())
train(engine, loader, engine)
""",
        "negatives within the batch",
    ),
    "batch statistics": (
        """
model = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
engine = engine_of(model)
loader = DataLoader(TensorDataset(inputs, targets), engine.train_micro_batch_size_per_gpu())
train(engine, loader, lambda batch: F.mse_loss(engine(batch[0]), batch[1]))
""",
        "BatchNorm",
    ),
}
# Of each kind one in every run of the tests.
ALWAYS = ("an object of the script's own", "negatives within the batch")


def theirs(tmp_path, source):
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "train.py").write_text(HEAD + source)
    return folder


def cases(table):
    return [
        name if name in ALWAYS else pytest.param(name, marks=pytest.mark.slow) for name in table
    ]


@pytest.mark.parametrize("name", cases(FOLLOWS))
def test_a_micro_batch_that_is_followed_is_searched_and_the_baseline_is_the_scripts_own(
    name, tmp_path
):
    done, study = tune(theirs(tmp_path, FOLLOWS[name]), "", *SIZES)
    assert 0 == done.returncode, done.stderr
    assert "left out" not in done.stderr
    trials = study.read_trials()
    assert (4, 8) == tuple(
        trials[0].settings[n] for n in ("batch.micro_size", "workload.global_batch_size")
    )
    assert {"2", "4", "8"} >= {t.point["batch.micro_size"] for t in trials}
    assert not [t for t in trials if isinstance(t.outcome, Unsupported)], done.stderr


@pytest.mark.parametrize("name", cases(LEFT_OUT))
def test_a_micro_batch_that_is_not_followed_or_trains_otherwise_is_left_out_with_the_reason(
    name, tmp_path
):
    source, why = LEFT_OUT[name]
    done, study = tune(theirs(tmp_path, source), "", *SIZES, "zero=choice(stage0,stage1)")
    assert 0 == done.returncode, done.stderr
    (note,) = [line for line in done.stderr.splitlines() if "batch.micro_size is left out" in line]
    assert why in note
    assert {4} == {t.settings["batch.micro_size"] for t in study.read_trials()}


@pytest.mark.slow
def test_noise_for_each_micro_batch_is_told_from_another_training(tmp_path):
    noisy = """
class Net(Inner):
    def forward(self, x, y):
        x = F.dropout(torch.cat([x, x], 1), 0.1)
        return F.mse_loss(self.layer(F.dropout(x[:, :16], 0.1)), y) + F.dropout(x, 0.1).mean()
engine = engine_of(Net())
loader = DataLoader(TensorDataset(inputs, targets), engine.train_micro_batch_size_per_gpu())
train(engine, loader, lambda batch: engine(*batch))
"""
    done, study = tune(theirs(tmp_path, noisy), "", *SIZES)
    assert "probably random numbers are drawn for each micro-batch" in done.stderr
    assert len({t.settings["batch.micro_size"] for t in study.read_trials()}) > 1
    assert study.read_trials()[0].settings["measure.loss_tolerance_fp32"] > 1e-3


SMALLER = """
def main(size):
    model = Net()
    config = {**CONFIG, "train_micro_batch_size_per_gpu": size, "gradient_accumulation_steps": 8 // size}
    engine = engine_of(model, config)
    loader = DataLoader(TensorDataset(inputs, targets), engine.train_micro_batch_size_per_gpu())
    train(engine, loader, lambda batch: engine(*batch))

class Net(Inner):
    def forward(self, x, y):
        if len(x) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return F.mse_loss(self.layer(x), y)

for size in (8, 4, 2, 1):
    try:
        main(size)
        break
    except torch.OutOfMemoryError:
        pass
"""


def test_a_script_that_tries_again_with_less_has_its_last_try_tuned(tmp_path):
    done, study = tune(
        theirs(tmp_path, SMALLER), "", "zero=choice(stage0,stage1)", "hydra.sweeper.n_trials=2"
    )
    trials = study.read_trials()
    assert 0 == done.returncode, done.stderr
    assert {2} == {t.settings["batch.micro_size"] for t in trials}
    assert all(isinstance(t.outcome, Measured) for t in trials), done.stderr


@pytest.mark.slow
def test_a_trial_ends_where_its_memory_does_whatever_the_script_would_try_next(tmp_path):
    done, study = tune(theirs(tmp_path, SMALLER), "", *SIZES, "script.samples=as_configured")
    outcomes = {t.settings["batch.micro_size"]: t.outcome for t in study.read_trials()}
    assert isinstance(outcomes[2], Measured), done.stderr
    assert all(isinstance(o, OutOfMemory) for size, o in outcomes.items() if size > 2), done.stderr


CRITIC = """
actor, critic = nn.Linear(16, 4), nn.Sequential(nn.Linear(16, 64), nn.Linear(64, 1))
reference = engine_of(nn.Linear(16, 4))  # has an optimizer, and never steps
a, c = engine_of(actor), engine_of(critic)
for x, y in DataLoader(TensorDataset(inputs, targets), c.train_micro_batch_size_per_gpu()):
    with torch.no_grad():
        before = reference(x)
    c.backward(F.mse_loss(c(x), y))
    c.step()
    a.backward(((a(x) - before) ** 2).mean() + a(x).mean())
    a.step()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("typed", "number"), [((), 3), (("script.engine=2",), 2)])
def test_of_engines_that_train_the_largest_is_tuned_or_the_one_that_is_typed(
    typed, number, tmp_path
):
    done, study = tune(
        theirs(tmp_path, CRITIC),
        "",
        "zero=choice(stage0,stage1)",
        "hydra.sweeper.n_trials=2",
        *typed,
    )
    assert 0 == done.returncode, done.stderr
    assert f"number {number} is tuned" in done.stderr
    assert all(isinstance(t.outcome, Measured) for t in study.read_trials()), done.stderr


def test_a_script_that_trains_without_its_engine_is_ended_and_told_the_limit(tmp_path):
    by_hand = """
model = nn.Linear(16, 1)
engine = engine_of(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
while True:
    F.mse_loss(model(inputs[:4]), targets[:4]).backward()
    optimizer.step()
"""
    done, _ = tune(theirs(tmp_path, by_hand), "", "script.probe_seconds=3")
    assert 2 == done.returncode
    (line,) = [text for text in done.stderr.splitlines() if text.startswith("sweeper: ")]
    assert "took 0 optimizer steps in 3 s after deepspeed.initialize" in line


FOR_EIGHT = """
CONFIG = {"train_batch_size": 64, "train_micro_batch_size_per_gpu": 4,
          "gradient_accumulation_steps": 2, "optimizer": ADAM}
model = nn.Linear(16, 1)
engine = engine_of(model, CONFIG)
loader = DataLoader(TensorDataset(inputs, targets), engine.train_micro_batch_size_per_gpu())
train(engine, loader, lambda batch: F.mse_loss(engine(batch[0]), batch[1]))
"""


@pytest.mark.parametrize("typed", ["", "workload.global_batch_size=64 batch.micro_size=4"])
def test_a_configuration_for_more_ranks_is_told_what_to_type_and_takes_it(typed, tmp_path):
    done, study = tune(theirs(tmp_path, FOR_EIGHT), "", "hydra.sweeper.n_trials=1", *typed.split())
    if not typed:
        assert 2 == done.returncode
        assert "made for 8 ranks, and here are 1; type hardware.ranks=8, or workload" in done.stderr
        return
    (trial,) = study.read_trials()
    assert isinstance(trial.outcome, Measured), done.stderr
    assert 64 == trial.settings["workload.global_batch_size"]
