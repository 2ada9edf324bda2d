"""Training scripts as their users write them, tuned as they are by the real command."""

import hashlib
import json
import shutil

import pytest

from sweeper.core.equivalence import best_trial, loss_differences
from sweeper.core.files import read_json
from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import Measured, measurement_of
from tests.support import ROOT, run_sweeper

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

EXAMPLES = ROOT / "examples" / "scripts"
QUICK = (
    "hydra/sweeper=optuna",
    "space=none",
    "measure=quick",
    "measure.max_warmup_steps=1",
    "measure.max_steps=3",
    "measure.breakdown_steps=0",
    "hydra.sweeper.finalists=0",
    "hydra.sweep.dir=../study",
)


def hashes(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def tune(folder, arguments, *more):
    """The command, typed in the script's own folder; its files must be what they were."""
    before = hashes(folder)
    done = run_sweeper(
        "+script=train.py",
        f"script.args='{arguments}'",
        *QUICK,
        *more,
        cwd=folder,
        timeout=240,
    )
    assert before == hashes(folder), "the script's files are not touched"
    return done, StudyFolder(folder.parent / "study")


def script(tmp_path, source):
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "train.py").write_text(source)
    (folder / "shape.py").write_text("WIDTH = 16\n")
    return folder


UNMODIFIED = {
    "deepspeed": (
        "--deepspeed_config ds_config.json --width 32 --layers 1 --epochs 1",
        ("hardware.ranks=2", "zero=choice(stage1,stage3)", "precision=choice(fp32,bf16)"),
    ),
    "trainer": (
        "--deepspeed ds_config.json --output_dir ../out --per_device_train_batch_size 1"
        " --gradient_accumulation_steps 8 --report_to none --layers 1 --use_cpu",
        (
            "zero=choice(stage2,stage3)",
            "precision=choice(fp32,bf16)",
            "checkpointing=choice(none,full)",
        ),
    ),
    "accelerate": (
        "--batch-size {micro_batch} --accumulation {gradient_accumulation}",
        (
            "workload.global_batch_size=8",
            "zero=choice(stage2,stage0)",
            "offload=choice(none,optimizer)",
            "precision=choice(fp32,bf16)",
        ),
    ),
}


@pytest.mark.parametrize(
    "name",
    ["deepspeed", *(pytest.param(n, marks=pytest.mark.slow) for n in ("trainer", "accelerate"))],
)
def test_an_unmodified_script_ends_with_a_winner_that_beats_or_ties_its_own_options(name, tmp_path):
    if name != "deepspeed":
        pytest.importorskip("accelerate")
        pytest.importorskip("transformers")
    arguments, space = UNMODIFIED[name]
    folder = tmp_path / "theirs"
    shutil.copytree(EXAMPLES / name, folder)
    done, study = tune(
        folder, arguments, "batch.micro_size=choice(1,2,8)", "hydra.sweeper.n_trials=4", *space
    )
    assert 0 == done.returncode, done.stderr
    assert "left out" not in done.stderr
    trials = study.read_trials()
    baseline, best = trials[0], best_trial(trials)
    assert isinstance(baseline.outcome, Measured), baseline.outcome
    assert best.outcome.measurement.tokens_per_second >= (
        baseline.outcome.measurement.tokens_per_second
    )
    assert {"1"} == {baseline.point["batch.micro_size"]}, "the script's own micro-batch"
    sizes = {t.settings["batch.micro_size"] for t in trials if isinstance(t.outcome, Measured)}
    assert len(sizes) > 1, "the script takes other micro-batches"
    assert not any(d.trains_differently for d in loss_differences(trials).values())
    ranks = baseline.settings["hardware.ranks"]
    assert {8 * ranks} == {t.settings["workload.global_batch_size"] for t in trials}
    assert (study.best / "ds_config.json").is_file()
    if name == "deepspeed":
        own = json.loads((folder / "ds_config.json").read_text())
        assert own == read_json(study.trial(0).ds_config), "the baseline is the script's own"


PRETRAINED = """
import deepspeed, torch
from transformers import AutoModelForCausalLM
from transformers.integrations import HfDeepSpeedConfig

config = {
    "train_micro_batch_size_per_gpu": 2,
    "gradient_accumulation_steps": 1,
    "optimizer": {"type": "AdamW", "params": {"lr": 0.001, "torch_adam": True}},
    "zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 0},
}
active = HfDeepSpeedConfig(config)
model = AutoModelForCausalLM.from_pretrained("../weights")
engine, *_ = deepspeed.initialize(model=model, model_parameters=model.parameters(), config=config)
generator = torch.Generator().manual_seed(0)
for _ in range(100):
    ids = torch.randint(0, 64, (2, 16), generator=generator)
    loss = engine(input_ids=ids, labels=ids).loss
    engine.backward(loss)
    engine.step()
"""


@pytest.mark.slow
def test_from_pretrained_partitions_parameters_at_the_candidates_stage_alone(tmp_path):
    transformers = pytest.importorskip("transformers")
    shape = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    transformers.LlamaForCausalLM(shape).save_pretrained(tmp_path / "weights")
    done, study = tune(
        script(tmp_path, PRETRAINED), "", "zero=choice(stage3,stage1)", "hydra.sweeper.n_trials=2"
    )
    assert 0 == done.returncode, done.stderr
    trials = study.read_trials()
    assert [3, 1] == [t.settings["zero.stage"] for t in trials if measurement_of(t.outcome)]
    assert not any(d.trains_differently for d in loss_differences(trials).values())


OWN_LOOP = """
import argparse, sys
import deepspeed, torch
from shape import WIDTH
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--workers", type=int, default=0)
parser.add_argument("--batches", type=int, default=400)
parser.add_argument("--swallow", action="store_true")
args = parser.parse_args()
CONFIG = {
    "train_micro_batch_size_per_gpu": 2,
    "gradient_accumulation_steps": 2,
    "optimizer": {"type": "Adam", "params": {"lr": 0.01, "torch_adam": True}},
}
torch.manual_seed(0)
data = TensorDataset(torch.randn(2 * args.batches, WIDTH), torch.randn(2 * args.batches, 1))

def main():
    loader = DataLoader(data, batch_size=2, num_workers=args.workers, persistent_workers=args.workers > 0)
    model = torch.nn.Linear(WIDTH, 1)
    engine, *_ = deepspeed.initialize(model=model, model_parameters=model.parameters(), config=CONFIG)
    for inputs, targets in loader:
        loss = torch.nn.functional.mse_loss(engine(inputs), targets)
        engine.backward(loss)
        engine.step()

if args.swallow:
    for attempt in range(3):
        try:
            main()
        except BaseException as error:
            print("that did not work:", error)
else:
    main()
"""


def test_a_micro_batch_of_the_scripts_own_loop_is_left_out_with_a_note(tmp_path):
    done, study = tune(
        script(tmp_path, OWN_LOOP),
        "--workers 2",
        "batch.micro_size=choice(1,2,4)",
        "precision=choice(fp32,bf16)",
        "checkpointing=choice(none,full)",
        "zero=choice(stage0,stage1)",
        "hydra.sweeper.n_trials=2",
    )
    assert 0 == done.returncode, done.stderr
    for name in ("batch.micro_size", "precision", "checkpointing"):
        assert f"note: {name} is left out" in done.stderr
        assert f"{name} is left out" in study.report.read_text()
    trials = study.read_trials()
    assert 2 == len([t for t in trials if isinstance(t.outcome, Measured)])
    assert {2} == {t.settings["batch.micro_size"] for t in trials}


def test_a_script_that_swallows_exceptions_ends_when_it_is_measured(tmp_path):
    done, study = tune(
        script(tmp_path, OWN_LOOP), "--swallow", "launch=torchrun", "hydra.sweeper.n_trials=1"
    )
    assert 0 == done.returncode, done.stderr
    assert isinstance(study.read_trials()[0].outcome, Measured)
    assert "did not work" not in study.trial(0).stdout.read_text()


def test_a_failure_that_a_script_swallows_is_told_all_the_same(tmp_path):
    broken = OWN_LOOP.replace("Linear(WIDTH, 1)", "Linear(15, 1)")
    done, _ = tune(script(tmp_path, broken), "--swallow")
    assert 3 == done.returncode
    assert "train.py fails by itself" in done.stderr
    assert "mat1 and mat2" in done.stderr


def test_a_script_that_ends_early_is_measured_where_it_took_enough_steps(tmp_path):
    done, study = tune(
        script(tmp_path, OWN_LOOP),
        "--batches 10",
        "launch=deepspeed",
        "measure.max_steps=6",
        "hydra.sweeper.n_trials=1",
    )
    assert 0 == done.returncode, done.stderr
    measurement = study.read_trials()[0].outcome.measurement
    assert (1, 4) == (len(measurement.warmup_step_seconds), len(measurement.step_seconds))


def test_a_script_that_ends_too_early_is_told_how_many_steps_are_needed(tmp_path):
    done, _ = tune(script(tmp_path, OWN_LOOP), "--batches 3")
    assert 2 == done.returncode
    assert "ended after 1 optimizer steps" in done.stderr


@pytest.mark.parametrize(
    ("source", "code", "line"),
    [
        ("print('trained')", 2, "ended without calling deepspeed.initialize"),
        ("raise RuntimeError('no data here')", 3, "RuntimeError: no data here"),
        ("import sys; sys.exit('no data here')", 3, "ended itself with exit code no data here"),
    ],
    ids=["never calls DeepSpeed", "crashes before it", "exits before it"],
)
def test_a_script_that_does_not_come_to_deepspeed_is_told_in_one_line(source, code, line, tmp_path):
    done, _ = tune(script(tmp_path, source), "")
    assert code == done.returncode
    (told,) = [text for text in done.stderr.splitlines() if text.startswith("sweeper: ")]
    assert line in told
