"""Real DeepSpeed on this machine: ranks, stages, memory limits, and the command end to end."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import psutil
import pytest
import torch

from sweeper.core.folder import StudyFolder, TrialFolder
from sweeper.core.outcome import (
    Infeasible,
    Measured,
    OutOfMemory,
    TimedOut,
    measurement_of,
    reason_of,
)
from sweeper.core.plan import plan
from sweeper.run.launch import free_port
from sweeper.run.ops import ensure_ops
from sweeper.run.runners import runner
from tests.support import MACHINE, environment, nano, run_sweeper, sweeper_command

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

# Relative difference of losses that the arithmetic of a precision explains: fp32 sums in another
# order, bf16 has 8 bits of mantissa and accumulates gradients in 16 bits.
TOLERANCE = {"fp32": 1e-4, "bf16": 1e-2}


@pytest.fixture(scope="module", autouse=True)
def built_ops():
    ensure_ops(["ShareMemCommBuilder", "CPUAdamBuilder"], accelerator="cpu", say=print)


def trial(folder, **changes):
    spec = plan(nano(**changes), MACHINE).ready
    return runner("warm").run(spec, TrialFolder(folder))


SAME_TRAINING = {
    f"zero{stage}-{ranks}rank-micro{micro_size}": (
        "fp32",
        {"zero.stage": stage, "hardware.ranks": ranks, "batch.micro_size": micro_size},
    )
    for stage in (0, 1, 2, 3)
    for ranks in (1, 2)
    for micro_size in (1, 4)
} | {
    "bf16-zero1-2rank": (
        "bf16",
        {"precision.mode": "bf16", "zero.stage": 1, "hardware.ranks": 2},
    ),
    "bf16-zero3": ("bf16", {"precision.mode": "bf16", "zero.stage": 3}),
    "autocast-zero3": ("bf16", {"precision.mode": "autocast_bf16", "zero.stage": 3}),
    "offload-zero2-2rank": (
        "fp32",
        {"zero.stage": 2, "offload.optimizer": "cpu", "hardware.ranks": 2},
    ),
    "offload-all-zero3": (
        "fp32",
        {"zero.stage": 3, "offload.optimizer": "cpu", "offload.params": "cpu"},
    ),
    "checkpointed-zero3-2rank": (
        "fp32",
        {"zero.stage": 3, "checkpointing.every_nth_block": 1, "hardware.ranks": 2},
    ),
}


@pytest.fixture(scope="module")
def same_trainings(tmp_path_factory):
    """All of them, two at a time: their losses are looked at, not their speed."""
    folder = tmp_path_factory.mktemp("same")
    with ThreadPoolExecutor(2) as pool:
        yield {
            name: pool.submit(trial, folder / name, **changes)
            for name, (_, changes) in SAME_TRAINING.items()
        }


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A plain PyTorch loop over the same batches, without DeepSpeed: what the losses must be."""
    from models.gpt2 import build
    from sweeper.worker.batches import Batches
    from sweeper.worker.feed import TokenIds

    settings = nano()
    spec = plan(settings, MACHINE).ready
    torch.manual_seed(spec.seed)
    model = build(**spec.model_arguments)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1
    )
    batches = Batches(spec, make_batch=TokenIds(model.vocab_size), data_rank=0, device="cpu")
    seen = []
    for step in range(3):
        loss = model(torch.cat(batches.micro_batches(step)))
        seen.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return seen


@pytest.mark.parametrize("name", SAME_TRAINING)
def test_every_stage_rank_count_micro_batch_and_option_trains_the_same(
    name, same_trainings, reference
):
    outcome = same_trainings[name].result()
    assert isinstance(outcome, Measured), reason_of(outcome)
    tolerance, _ = SAME_TRAINING[name]
    assert pytest.approx(reference, rel=TOLERANCE[tolerance]) == outcome.measurement.losses[:3]


def test_a_token_file_is_what_is_trained_on(tmp_path):
    import numpy

    path = tmp_path / "tokens.bin"
    numpy.tile(numpy.arange(4, dtype=numpy.uint16), 5000).tofile(path)
    outcome = trial(
        tmp_path / "trial",
        **{
            "workload.tokens_file": str(path),
            "optimizer.lr": 0.01,
            "measure.min_steps": 8,
            "measure.max_steps": 8,
        },
    )
    seen = outcome.measurement.losses
    assert seen[-1] < 0.75 * seen[0]  # four tokens in a circle are quickly learnt


def test_a_memory_limit_makes_a_trial_run_out_of_memory_for_real(tmp_path):
    wide = {"model.width": 1024, "model.layers": 4, "model.vocab_size": 32000}
    outcome = trial(tmp_path / "small", **wide, **{"hardware.memory_limit": "900MiB"})
    assert isinstance(outcome, OutOfMemory), outcome
    assert "host" == outcome.memory
    fits = trial(tmp_path / "large", **wide, **{"hardware.memory_limit": "6GiB"})
    assert isinstance(fits, Measured), fits
    assert 900 * 2**20 < fits.measurement.peak_bytes < 6 * 2**30


def test_a_trial_that_takes_too_long_has_timed_out(tmp_path):
    outcome = trial(
        tmp_path,
        **{
            "measure.max_steps": 1_000_000,
            "measure.interval": 0.0,
            "measure.max_seconds": 1e6,
            "launch.timeout_seconds": 15.0,
        },
    )
    assert isinstance(outcome, TimedOut)
    assert "measure" == outcome.phase


def test_a_loss_that_is_no_number_has_diverged(tmp_path):
    changes = {
        "optimizer.lr": 1e30,
        "optimizer.gradient_clipping": 0.0,
        "measure.max_warmup_steps": 5,
        "measure.settled_within": 0.0,
    }
    outcome = trial(tmp_path, **changes)
    assert "diverged: the loss became nan" in f"diverged: {reason_of(outcome)}", outcome
    assert type(outcome).__name__ == "Diverged"


def nano_study(cwd, *arguments, **more):
    return run_sweeper(
        "+model=gpt2-nano", "hydra/sweeper=optuna", "measure=quick", *arguments,
        cwd=cwd, timeout=500, **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """One study of the nano model, from the literal command, for the tests below to look at."""
    cwd = tmp_path_factory.mktemp("a user's folder")
    finished = nano_study(
        cwd,
        "space=quick",
        "zero=choice(stage0,stage1)",
        "batch.micro_size=choice(1,2,8)",
        "hydra.sweeper.n_trials=4",
    )
    assert 0 == finished.returncode, finished.stderr
    (folder,) = (cwd / "results").iterdir()
    return finished, StudyFolder(folder)


def test_the_literal_command_ends_with_a_winner_a_report_and_a_config(study):
    finished, folder = study
    trials = folder.read_trials()
    assert 4 == sum(measurement_of(t.outcome) is not None for t in trials)
    assert "tokens/s" in finished.stdout
    assert str(folder.best_ds_config.relative_to(folder.path.parent.parent)) in finished.stdout
    table = pd.read_csv(folder.trials_csv)
    assert len(trials) == len(table)
    assert (table["tokens_per_second_median"].dropna() > 0).all()
    for name in ("throughput_memory", "throughput_stage_micro_batch", "best_so_far"):
        assert (folder.figures / f"{name}.png").is_file()
        assert (folder.figures / f"{name}.svg").is_file()


def test_the_memory_that_a_trial_was_predicted_to_need_is_kept_and_near(study):
    _, folder = study
    predicted = folder.read_predictions()
    for trial in folder.read_trials():
        if (m := measurement_of(trial.outcome)) is not None:
            assert predicted[trial.number].peak_bytes == pytest.approx(m.peak_bytes, rel=0.3)


def test_what_the_plan_ruled_out_is_told_before_the_first_trial_and_in_the_report(study):
    finished, folder = study
    assert "candidates are ruled out before they are run" in finished.stderr
    text = folder.report.read_text()
    assert "| `optimizer-offload-needs-zero` |" in text
    assert "| `micro-batches-fill-the-global-batch` |" in text


def test_the_best_few_were_measured_again_in_turns(study):
    finished, folder = study
    assert "again, in turns" in finished.stderr
    rounds = folder.finalists.read_rounds()
    assert len(rounds) >= 3
    assert all(0 in found for found in rounds)  # the baseline, in each
    assert "## Finalists" in folder.report.read_text()


def test_each_trial_that_ran_is_a_hydra_job_and_can_be_repeated_by_hand(study):
    _, folder = study
    for trial in folder.read_trials():
        own = folder.trial(trial.number)
        if isinstance(trial.outcome, Measured):
            assert (own.path / ".hydra" / "overrides.yaml").is_file()
            assert own.command.is_file()
            assert own.stdout.stat().st_size > 0


def test_optunas_record_and_the_folders_agree(study):
    from sweeper.search.optuna_study import load_study

    _, folder = study
    recorded = load_study(None, folder.journal, folder.path.name)
    told = {t.user_attrs["trial"]: t for t in recorded.trials if "trial" in t.user_attrs}
    for trial in folder.read_trials():
        assert trial.number in told
        if isinstance(trial.outcome, Measured):
            assert told[trial.number].value == trial.outcome.measurement.tokens_per_second


def test_the_report_can_be_built_again(study):
    _, folder = study
    before = folder.trials_csv.read_text()
    folder.trials_csv.unlink()
    finished = run_sweeper("report", str(folder.path), cwd=folder.path)
    assert 0 == finished.returncode, finished.stderr
    assert before == folder.trials_csv.read_text()


PLAIN_SCRIPT = """
import json, sys
import deepspeed, torch

config = json.load(open(sys.argv[1]))
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
engine, *_ = deepspeed.initialize(model=model, model_parameters=model.parameters(), config=sys.argv[1])
assert engine.train_batch_size() == config["train_batch_size"]
dtype = next(engine.parameters()).dtype
x = torch.randn(config["train_micro_batch_size_per_gpu"], 16, dtype=dtype)
losses = []
while engine.global_steps < 10:
    loss = engine(x).pow(2).mean()
    engine.backward(loss)
    engine.step()
    losses.append(loss.item())
assert losses[-1] < losses[0], losses
assert not any(name.startswith("sweeper") for name in sys.modules)
print("STEPS", engine.global_steps)
"""


def test_the_exported_config_trains_ten_steps_in_a_script_that_imports_nothing_of_ours(
    study, tmp_path
):
    _, folder = study
    script = tmp_path / "train.py"
    script.write_text(PLAIN_SCRIPT)
    (tmp_path / "ds_config.json").write_text(folder.best_ds_config.read_text())
    from sweeper.places import extensions_dir

    finished = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "ds_config.json")],
        cwd=tmp_path,
        env={
            **os.environ,
            "DS_ACCELERATOR": "cpu",
            "TORCH_EXTENSIONS_DIR": str(extensions_dir()),
            "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
            **{"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"},
            **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())},
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "STEPS 10" in finished.stdout, finished.stderr[-3000:]


def test_without_a_sweeper_the_command_runs_one_trial_with_its_numbers_on_the_screen(tmp_path):
    finished = run_sweeper(
        "+model=gpt2-nano", "zero=stage2", "precision=bf16", "measure=quick",
        cwd=tmp_path, timeout=300,
    )  # fmt: skip
    assert 0 == finished.returncode, finished.stderr
    assert "tokens/s" in finished.stderr
    (path,) = tmp_path.glob("results/*/trials/0000/trial.json")
    assert 2 == json.loads(path.read_text())["settings"]["zero.stage"]


def test_a_plain_grid_is_hydras_own_and_gets_a_report_too(tmp_path):
    finished = run_sweeper(
        "-m", "+model=gpt2-nano", "zero=stage0,stage1", "batch.micro_size=4,3", "measure=quick",
        cwd=tmp_path, timeout=400,
    )  # fmt: skip
    assert 0 == finished.returncode, finished.stderr
    (folder,) = (tmp_path / "results").iterdir()
    trials = StudyFolder(folder).read_trials()
    assert [0, 1, 2, 3] == [trial.number for trial in trials]
    assert 2 == sum(isinstance(trial.outcome, Infeasible) for trial in trials)
    said = ("is the fastest", "was the fastest", "no clear gain over the grid's first point")
    assert any(words in finished.stdout for words in said)
    assert "your own" not in finished.stdout


def test_a_study_in_which_nothing_can_run_is_refused_with_what_would(tmp_path):
    finished = nano_study(
        tmp_path, "space=none", "batch.micro_size=3", "zero=choice(stage0,stage1)"
    )
    assert 2 == finished.returncode, finished.stderr
    assert "is not a multiple of 3" in finished.stderr
    assert "none of the 2 candidates can be run; type batch.micro_size=" in finished.stderr
    assert not [*tmp_path.glob("results")]


@pytest.mark.parametrize("signals", [[signal.SIGINT, signal.SIGINT], [signal.SIGTERM]])
def test_an_interrupt_reports_what_is_there_and_leaves_no_process(tmp_path, signals):
    process = subprocess.Popen(
        sweeper_command("+model=gpt2-nano", "hydra/sweeper=optuna", "measure=quick"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: list(tmp_path.glob("results/*/trials/0000/trial.json")), 120)
    wait_until(lambda: list(tmp_path.glob("results/*/trials/*/progress.rank0.json"))[1:], 120)
    for number in signals:
        process.send_signal(number)
        time.sleep(0.2)
    out, err = process.communicate(timeout=60)
    assert 130 == process.returncode, err
    assert "interrupted after" in err
    assert "Traceback" not in err
    assert "report:" in out
    assert [] == [p for p in psutil.process_iter() if mentions(p, str(tmp_path))]


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def mentions(process, text):
    try:
        return process.pid != os.getpid() and text in " ".join(process.cmdline())
    except psutil.Error:
        return False
