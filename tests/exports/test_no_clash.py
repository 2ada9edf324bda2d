"""What is exported beside what Trainer and Accelerate set themselves: nothing is said twice in two ways."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sweeper.core.files import read_json
from sweeper.core.folder import StudyFolder
from sweeper.core.start import script_facts, start_of
from sweeper.places import extensions_dir
from sweeper.report.build import build_report
from sweeper.run.launch import free_port
from sweeper.run.study_record import how_it_stands
from tests.exports.made_up import SIZES, study_of_script
from tests.exports.test_odd_configurations import CASES
from tests.support import environment

pytest.importorskip("accelerate", reason="this is about accelerate")
pytest.importorskip("transformers", reason="this is about transformers")

SCHEDULER = {
    "type": "WarmupDecayLR",
    "params": {
        "warmup_min_lr": 0,
        "warmup_max_lr": 0.001,
        "warmup_num_steps": 3,
        "total_num_steps": 100,
    },
}
FULL = {
    **SIZES,
    "gradient_clipping": 0.5,
    "optimizer": {
        "type": "AdamW",
        "params": {"lr": 0.001, "betas": [0.9, 0.999], "weight_decay": 0.1, "torch_adam": True},
    },
    "scheduler": SCHEDULER,
    "zero_optimization": {"stage": 2},
    "zero_allow_untested_optimizer": True,
    "zero_force_ds_cpu_optimizer": False,
}


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    monkeypatch.setattr("sweeper.report.build.draw_figures", lambda *_, **__: ())


def best_of(path: Path, config, framework, *, facts=None, **changes) -> StudyFolder:
    more = {"framework": framework, "parses_arguments": True, **(facts or {})}
    folder = study_of_script(path, config, facts=more, **changes)
    said = build_report(folder)
    assert "could not" not in said
    return folder


def trainers_own(folder: StudyFolder, *typed: str):
    """What a Trainer would give DeepSpeed, of a script's own arguments and the winner's behind them."""
    from transformers import HfArgumentParser, TrainingArguments
    from transformers.integrations.deepspeed import HfTrainerDeepSpeedConfig

    words = [*typed, *folder.bundle.trainer_arguments.read_text().split()]
    (parsed,) = HfArgumentParser(TrainingArguments).parse_args_into_dataclasses(
        [*words, "--output_dir", str(folder.path / "out")]
    )
    config = HfTrainerDeepSpeedConfig(str(folder.bundle.trainer_ds_config))
    config.trainer_config_process(parsed)
    model = SimpleNamespace(config=SimpleNamespace(hidden_size=16))
    config.trainer_config_finalize(parsed, model, 100)
    return parsed, config


def plugin_of(folder: StudyFolder):
    from accelerate import DeepSpeedPlugin

    return DeepSpeedPlugin(hf_ds_config=str(folder.bundle.accelerate_ds_config))


def autos(document) -> list[str]:
    return [
        name
        for name, value in document.items()
        if value == "auto" or (isinstance(value, dict) and autos(value))
    ]


@pytest.mark.parametrize("framework", [None, "transformers"])
@pytest.mark.parametrize(("config", "settings"), CASES)
def test_a_trainer_finds_no_mismatch_and_fills_in_what_is_left_open(
    tmp_path, config, settings, framework
):
    from accelerate import DeepSpeedPlugin
    from deepspeed.runtime.config import DeepSpeedConfig

    folder = best_of(tmp_path, config, framework, **settings)
    mine = ["--per_device_train_batch_size", "7", "--fp16", "--max_grad_norm", "9"]
    parsed, filled = trainers_own(folder, *mine, "--gradient_checkpointing")
    plugin = DeepSpeedPlugin(hf_ds_config=filled)
    given = plugin.deepspeed_config
    assert [] == autos(given)
    assert (2, 2) == (given["train_micro_batch_size_per_gpu"], parsed.gradient_accumulation_steps)
    assert given["bf16"]["enabled"] is parsed.bf16 is (settings.get("precision.mode") == "bf16")
    assert parsed.fp16 is False
    assert settings.get("zero.stage", 2) == plugin.zero_stage
    DeepSpeedConfig({n: v for n, v in given.items() if n != "steps_per_print"})


def test_what_a_trainers_script_leaves_to_its_file_stays_there_and_agrees_with_its_arguments(
    tmp_path,
):
    folder = best_of(tmp_path, FULL, "transformers")
    typed = ["--learning_rate", "0.002", "--weight_decay", "0.3", "--warmup_steps", "5"]
    parsed, filled = trainers_own(folder, *typed)
    assert {"lr": 0.002, "betas": [0.9, 0.999], "weight_decay": 0.3, "torch_adam": True} == (
        filled.config["optimizer"]["params"]
    )
    schedule = filled.config["scheduler"]["params"]
    assert (0, 0.002, 5, 100) == (
        schedule["warmup_min_lr"],
        schedule["warmup_max_lr"],
        schedule["warmup_num_steps"],
        schedule["total_num_steps"],
    )
    assert 0.5 == parsed.max_grad_norm == filled.config["gradient_clipping"]
    assert "--optim " not in folder.bundle.trainer_arguments.read_text()
    elsewhere = json.loads(folder.bundle.accelerate_ds_config.read_text())
    assert not {"optimizer", "scheduler"} & set(elsewhere), "there they are the script's"


@pytest.mark.parametrize(("config", "settings"), CASES)
@pytest.mark.parametrize("asked", ["no", "bf16", "fp16"])
def test_an_accelerator_is_in_the_winners_precision_or_says_why_not(
    tmp_path, config, settings, asked
):
    folder = best_of(tmp_path, config, "accelerate", **settings)
    plugin = plugin_of(folder)
    in_bf16 = settings.get("precision.mode") == "bf16"
    if in_bf16 and asked == "fp16":
        with pytest.raises(ValueError, match="cannot be set to `fp16` when `bf16`"):
            plugin.set_mixed_precision(asked)
        return
    plugin.set_mixed_precision(asked)
    assert in_bf16 is plugin.deepspeed_config["bf16"]["enabled"]
    assert plugin.deepspeed_config["fp16"]["enabled"] is False
    assert settings.get("zero.stage", 2) == plugin.zero_stage
    offload = settings.get("offload.optimizer", "none")
    assert offload == plugin.offload_optimizer_device
    assert 2 == plugin.gradient_accumulation_steps
    if not autos(plugin.deepspeed_config):  # of which Accelerate asks the model and DummyOptim
        plugin.deepspeed_config_process(must_match=False)


@pytest.mark.parametrize("own", [{}, {"zero_force_ds_cpu_optimizer": False}])
def test_an_offloaded_optimizer_is_put_in_by_accelerate_as_in_the_trial(tmp_path, own):
    """What we added would have it leave torch's own, on the CPU; what the script has itself counts."""
    facts = {"config": {"zero_optimization": {"stage": 2}, **own}}
    folder = best_of(tmp_path, FULL, "accelerate", facts=facts, **{"offload.optimizer": "cpu"})
    given = plugin_of(folder).deepspeed_config
    assert bool(own) is ("zero_force_ds_cpu_optimizer" in given)
    assert FULL == json.loads(folder.bundle.ds_config.read_text())


def test_what_accelerate_launch_sets_is_allowed_beside_the_file(tmp_path, monkeypatch):
    """Its launcher tells of each field of accelerate.yaml, and refuses some beside a file."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_deepspeed_cmd_env

    folder = best_of(tmp_path, FULL, "accelerate", **{"zero.stage": 3, "precision.mode": "bf16"})
    args = launch_command_parser().parse_args(
        ["--config_file", str(folder.bundle.accelerate), "train.py"]
    )
    args, defaults, from_its_file = _validate_launch_command(args)
    assert not from_its_file
    args.deepspeed_fields_from_accelerate_config = ",".join(defaults.deepspeed_config)
    _, variables = prepare_deepspeed_cmd_env(args)
    assert "no" == variables["ACCELERATE_MIXED_PRECISION"]
    for name, value in variables.items():
        if name.startswith("ACCELERATE_"):
            monkeypatch.setenv(name, value)
    from accelerate import DeepSpeedPlugin

    plugin = DeepSpeedPlugin()
    plugin.set_mixed_precision(variables["ACCELERATE_MIXED_PRECISION"])
    assert (3, True) == (plugin.zero_stage, plugin.zero3_init_flag)
    assert plugin.deepspeed_config["bf16"]["enabled"] is True
    assert (2, 0.5) == (plugin.gradient_accumulation_steps, plugin.gradient_clipping)


TRAINER = """
import json, os, sys
from transformers import GPT2Config, GPT2LMHeadModel, HfArgumentParser, Trainer, TrainingArguments

class Samples(list):
    def __getitem__(self, i):
        ids = [(i + j) % 64 for j in range(16)]
        return {"input_ids": ids, "labels": ids}

(args,) = HfArgumentParser(TrainingArguments).parse_args_into_dataclasses()
shape = GPT2Config(n_layer=1, n_embd=16, n_head=2, vocab_size=64, n_positions=32)
trainer = Trainer(model=GPT2LMHeadModel(shape), args=args, train_dataset=Samples(range(64)))
trainer.train()
engine = trainer.model_wrapped
"""
ACCELERATED = """
import json, os, sys, torch
from accelerate import Accelerator
from accelerate.utils import DummyOptim, DummyScheduler

accelerator = Accelerator(gradient_accumulation_steps=7)
model = torch.nn.Linear(8, 1)
optimizer = DummyOptim(model.parameters(), lr=0.001)
scheduler = DummyScheduler(optimizer, total_num_steps=100, warmup_num_steps=3)
data = torch.utils.data.TensorDataset(torch.randn(64, 8))
loader = torch.utils.data.DataLoader(data, batch_size=2)
model, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, scheduler)
for (x,) in loader:
    with accelerator.accumulate(model):
        accelerator.backward(model(x.to(next(model.parameters()).dtype)).pow(2).mean())
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    if model.global_steps == 3:
        break
engine = model
"""
TOLD = """
with open("told.json", "w") as file:
    json.dump({
        "micro": engine.train_micro_batch_size_per_gpu(),
        "accumulation": engine.gradient_accumulation_steps(),
        "steps": engine.global_steps,
        "bf16": bool(engine.bfloat16_enabled()),
        "fp16": bool(engine.fp16_enabled()),
        "stage": engine.zero_optimization_stage(),
        "clipping": engine.gradient_clipping(),
        "scheduler": type(engine.lr_scheduler).__name__,
        "optimizer": engine.optimizer_name(),
    }, file)
torch = sys.modules["torch"]
torch.distributed.destroy_process_group()
os._exit(0)
"""
FROM_THE_ENVIRONMENT = {"config_file": None, "config_in_code": False}


@pytest.mark.real
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("framework", "facts", "shell"),
    [
        ("transformers", {}, {}),
        ("transformers", FROM_THE_ENVIRONMENT, {"ACCELERATE_MIXED_PRECISION": "fp16"}),
        ("accelerate", FROM_THE_ENVIRONMENT, {"ACCELERATE_MIXED_PRECISION": "fp16"}),
    ],
)
def test_the_printed_line_trains_with_the_winner_whatever_else_is_set(
    tmp_path, framework, facts, shell
):
    arguments = ""
    if framework == "transformers":
        arguments = (
            "--use_cpu --output_dir out --max_steps 3 --report_to none --save_strategy no --fp16 "
            "--learning_rate 0.001 --weight_decay 0.1 --warmup_steps 3 --max_grad_norm 0.5"
        )
        if not facts:
            arguments += " --deepspeed ds.json"
    settings = {"hardware.ranks": 1, "workload.global_batch_size": 4, "precision.mode": "bf16"}
    config = {**FULL, "train_batch_size": 4, "bf16": {"enabled": True}}
    folder = best_of(tmp_path, config, framework, facts=facts, **settings)
    body = TRAINER if framework == "transformers" else ACCELERATED
    (tmp_path / "train.py").write_text(body + TOLD)
    (tmp_path / "ds.json").write_text("{}")
    winner = how_it_stands(folder).winner
    given = {**winner.settings, "script.args": arguments}
    start = start_of(given, script_facts(folder), folder.bundle)
    assert () == start.changes
    launch = shlex.quote(os.path.relpath(folder.bundle.launch, start.folder))
    assert f"{launch} train.py" in start.command
    line = start.command.replace(launch, f"{launch} --master_port={free_port()}")
    done = subprocess.run(
        ["sh", "-c", line],
        cwd=start.folder,
        env=environment(
            PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            TORCH_EXTENSIONS_DIR=str(extensions_dir()),
            **shell,
        ),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert 0 == done.returncode, done.stdout[-2000:] + done.stderr[-3000:]
    assert {
        "micro": 2,
        "accumulation": 2,
        "steps": 3,
        "bf16": True,
        "fp16": False,
        "stage": 2,
        "clipping": 0.5,
        "scheduler": "WarmupDecayLR",
        "optimizer": "adamw",
    } == read_json(tmp_path / "told.json")
