"""Training scripts as their users write them, tuned as they are by the real command."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml

from sweeper.core.contest_record import read_contest
from sweeper.core.equivalence import loss_differences
from sweeper.core.files import read_json
from sweeper.core.folder import StudyFolder
from sweeper.core.outcome import Measured, measurement_of
from sweeper.core.standing import standing
from sweeper.places import extensions_dir
from sweeper.run.launch import free_port
from tests.real.scripts import QUICK, hashes, tune
from tests.support import ROOT, environment

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
EXAMPLES = ROOT / "examples" / "scripts"


def script(tmp_path, source):
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "train.py").write_text(source)
    (folder / "shape.py").write_text("WIDTH = 16\n")
    return folder


# What a study is told behind the example's own command, which is short otherwise.
EXAMPLE = {
    "deepspeed": (
        "script.args='--deepspeed_config ds_config.json --width 32 --layers 1 --epochs 2'",
        "hardware.ranks=2",
        "zero=choice(stage1,stage3)",
    ),
    "trainer": (
        "zero=choice(stage2,stage3)",
        "precision=choice(fp32,bf16)",
        "checkpointing=choice(none,full)",
    ),
    "accelerate": (
        "zero=choice(stage2,stage0)",
        "offload=choice(none,optimizer)",
        "precision=choice(fp32,bf16)",
    ),
}


def run_example(folder, *more, **environment_of):
    """Its run.sh, as it is; its files must be what they were."""
    before = hashes(folder)
    done = subprocess.run(
        ["sh", str(folder / "run.sh"), *QUICK, *more],
        env=environment(PATH=PATH, **environment_of),
        capture_output=True,
        text=True,
        timeout=600,  # trials of other sweepers on this machine are waited for
        check=False,
    )
    assert before == hashes(folder), "the script's files are not touched"
    assert 0 == done.returncode, done.stderr
    return done, StudyFolder(folder.parent / "study")


# Put before a training: what the engine was made with, and no training.
WATCH = """
import json, os
from sweeper.worker.script.when_imported import when_imported

def watch(deepspeed):
    original = deepspeed.initialize

    def initialize(*given, **named):
        engine = original(*given, **named)[0]
        if os.environ["RANK"] == "0":
            made = {
                "batch.micro_size": engine.train_micro_batch_size_per_gpu(),
                "workload.global_batch_size": engine.train_batch_size(),
                "zero.stage": engine.zero_optimization_stage(),
                "bf16": engine.bfloat16_enabled(),
                "hardware.ranks": engine.world_size,
            }
            with open(os.environ["ENGINE"], "w") as file:
                json.dump(made, file)
        deepspeed.comm.barrier()
        os._exit(0)

    deepspeed.initialize = initialize

when_imported("deepspeed", watch)
"""


def engine_of_the_printed_line(study, tmp_path):
    """What an engine has that is made by the lines that best/README.md tells to paste, as they are."""
    readme = study.bundle.readme.read_text()
    lines = readme.partition("## Your script")[2].partition("```sh\n")[2].partition("```")[0]
    typed = lines.replace("launch.sh ", f"launch.sh --master_port={free_port()} ", 1)
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH)
    done = subprocess.run(
        ["sh", "-ec", typed],
        env=environment(
            PATH=PATH,
            PYTHONPATH=os.pathsep.join([str(tmp_path / "watch"), str(ROOT)]),
            ENGINE=str(tmp_path / "engine.json"),
            TORCH_EXTENSIONS_DIR=str(extensions_dir()),
        ),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert 0 == done.returncode, lines + done.stdout[-2000:] + done.stderr[-2000:]
    return lines, read_json(tmp_path / "engine.json")


def assert_the_printed_line_trains_the_winner(study, winner, tmp_path):
    lines, engine = engine_of_the_printed_line(study, tmp_path)
    for name in ("batch.micro_size", "workload.global_batch_size", "zero.stage", "hardware.ranks"):
        assert winner.settings[name] == engine[name], f"{name}: {lines}"
    assert ("bf16" == winner.settings["precision.mode"]) == engine["bf16"]


def winner_of(study):
    finals = read_contest(study.finalists)
    return standing(study.read_trials(), finals=finals and finals[1]).winner


def assert_tuned_as_it_is(study, done):
    trials = study.read_trials()
    assert "left out" not in done.stderr
    assert isinstance(trials[0].outcome, Measured), trials[0].outcome
    assert {"1"} == {trials[0].point["batch.micro_size"]}, "the script's own micro-batch"
    sizes = {t.settings["batch.micro_size"] for t in trials if isinstance(t.outcome, Measured)}
    assert len(sizes) > 1, "the script takes other micro-batches"
    assert not any(d.trains_differently for d in loss_differences(trials).values())
    ranks = trials[0].settings["hardware.ranks"]
    assert {8 * ranks} == {t.settings["workload.global_batch_size"] for t in trials}


SIZES = ("batch.micro_size=choice(1,8)", "hydra.sweeper.n_trials=4")


def test_an_unmodified_script_is_tuned_with_its_own_options_as_the_baseline(tmp_path):
    folder = tmp_path / "theirs"
    shutil.copytree(EXAMPLES / "deepspeed", folder)
    done, study = run_example(folder, *SIZES, *EXAMPLE["deepspeed"])
    assert_tuned_as_it_is(study, done)
    own = json.loads((folder / "ds_config.json").read_text())
    assert own == read_json(study.trial(0).ds_config)
    best = read_json(study.bundle.ds_config)  # without train_batch_size where it is their own
    micro, steps = (
        best[key] for key in ("train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
    )
    assert 2 * micro * steps == 16


FINALS = ("hydra.sweeper.finalists=1", "hydra.sweeper.finalist_rounds=4")


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLE)
def test_a_slow_script_ends_with_a_winner_of_finals_that_its_printed_line_trains(name, tmp_path):
    if name != "deepspeed":
        pytest.importorskip("accelerate")
        pytest.importorskip("transformers")
    folder = tmp_path / "theirs"
    shutil.copytree(EXAMPLES / name, folder)
    done, study = run_example(folder, *SIZES, *EXAMPLE[name], *FINALS)
    assert_tuned_as_it_is(study, done)
    winner, (_, finals) = winner_of(study), read_contest(study.finalists)
    assert 8 == winner.settings["batch.micro_size"], "one pass in the place of eight"
    assert winner.number == finals.winner
    assert finals.gain.low > 1, "in turns, in fresh processes"
    if name == "trainer":
        assert_what_the_trainers_winner_leaves_is_whole(study)
    assert_the_printed_line_trains_the_winner(study, winner, tmp_path)


def assert_what_the_trainers_winner_leaves_is_whole(study):
    """Its own configuration has auto wherever it can."""
    from transformers import HfArgumentParser, TrainingArguments

    best = study.bundle
    shared = best.trainer_ds_config.read_text()
    assert 6 == shared.count('"auto"')
    for path in sorted(study.best.iterdir()):
        if path not in (best.trainer_ds_config, best.readme):
            assert "auto" not in path.read_text(), path
    words = shlex.split(best.trainer_arguments.read_text())
    (parsed,) = HfArgumentParser(TrainingArguments).parse_args_into_dataclasses(
        [*words, "--output_dir", str(study.path / "out")]
    )
    assert 1.0 == parsed.max_grad_norm, "the Trainer's own, which its configuration took"
    for path in (best.axolotl, best.llamafactory):
        assert 1.0 == yaml.safe_load(path.read_text())["max_grad_norm"]


FROM_THE_ENVIRONMENT = """{
  "train_micro_batch_size_per_gpu": "auto",
  "gradient_accumulation_steps": 8,
  "zero_optimization": {"stage": 1}
}"""


@pytest.mark.slow
def test_an_accelerate_script_takes_its_configuration_from_the_environment(tmp_path):
    pytest.importorskip("accelerate")
    pytest.importorskip("transformers")
    folder = tmp_path / "theirs"
    shutil.copytree(EXAMPLES / "accelerate", folder)
    (folder / "launched.json").write_text(FROM_THE_ENVIRONMENT)
    source = (folder / "train.py").read_text()
    own = source[source.index("    plugin = ") : source.index("    set_seed(0)")]
    (folder / "train.py").write_text(source.replace(own, "    accelerator = Accelerator()\n"))
    _, study = run_example(
        folder,
        "batch.micro_size=choice(1,8)",
        "zero=choice(stage1,stage2)",
        "hydra.sweeper.n_trials=2",
        ACCELERATE_USE_DEEPSPEED="true",
        ACCELERATE_DEEPSPEED_CONFIG_FILE="launched.json",
    )
    trials = study.read_trials()
    assert [1] == [t.settings["zero.stage"] for t in trials[:1]], "the file's own"
    assert all(isinstance(t.outcome, Measured) for t in trials)
    assert_the_printed_line_trains_the_winner(study, winner_of(study), tmp_path)


RESUMED = """
import os
from transformers import HfArgumentParser, LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

class Samples(list):
    def __getitem__(self, i):
        ids = [(i + j) % 64 for j in range(16)]
        return {"input_ids": ids, "labels": ids}

(args,) = HfArgumentParser(TrainingArguments).parse_args_into_dataclasses()
last = get_last_checkpoint(args.output_dir) if os.path.isdir(args.output_dir) else None
shape = LlamaConfig(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2
)
trainer = Trainer(model=LlamaForCausalLM(shape), args=args, train_dataset=Samples(range(512)))
trainer.train(resume_from_checkpoint=last)
"""


@pytest.mark.slow
def test_a_trainer_neither_goes_on_from_what_its_output_folder_holds_nor_leaves_something_there(
    tmp_path,
):
    pytest.importorskip("accelerate")
    pytest.importorskip("transformers")
    folder = script(tmp_path, RESUMED)
    (folder / "ds.json").write_text(
        '{"train_micro_batch_size_per_gpu": "auto", "gradient_accumulation_steps": "auto",'
        ' "train_batch_size": "auto", "zero_optimization": {"stage": 2}}'
    )
    checkpoint = folder / "out" / "checkpoint-2"
    checkpoint.mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text("{}")
    done, study = tune(
        folder,
        "--output_dir out --use_cpu --deepspeed ds.json --save_steps 1 --save_total_limit 1",
        "zero=choice(stage1,stage2)",
        "hydra.sweeper.n_trials=2",
    )
    assert 0 == done.returncode, done.stderr
    trials = study.read_trials()
    assert 2 == len([t for t in trials if isinstance(t.outcome, Measured)])
    assert not any(d.trains_differently for d in loss_differences(trials).values())


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
    there = [p for p in psutil.process_iter(["environ"]) if str(tmp_path) in str(p.info["environ"])]
    assert [] == there, "its data loader's workers are gone"


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


@pytest.mark.parametrize("ending", ["", "import os; os._exit(0)"], ids=["by itself", "at once"])
def test_a_script_that_ends_too_early_is_told_how_many_steps_are_needed(tmp_path, ending):
    done, _ = tune(script(tmp_path, OWN_LOOP + ending), "--batches 3")
    assert 2 == done.returncode
    assert "ended after 1 optimizer steps" in done.stderr


@pytest.mark.parametrize(
    ("source", "code", "line"),
    [
        ("print('trained')", 2, "ended without calling deepspeed.initialize"),
        ("import os; os._exit(0)", 2, "ended without calling deepspeed.initialize"),
        ("import os; os._exit(7)", 3, "ended itself with exit code 7"),
        ("raise RuntimeError('no data here')", 3, "RuntimeError: no data here"),
        ("import sys; sys.exit('no data here')", 3, "ended itself with exit code no data here"),
    ],
    ids=[
        "never calls DeepSpeed",
        "ends at once",
        "fails at once",
        "crashes before it",
        "exits before it",
    ],
)
def test_a_script_that_does_not_come_to_deepspeed_is_told_in_one_line(source, code, line, tmp_path):
    done, _ = tune(script(tmp_path, source), "")
    assert code == done.returncode
    (told,) = [text for text in done.stderr.splitlines() if text.startswith("sweeper: ")]
    assert line in told
