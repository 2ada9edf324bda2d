"""One study's winner trains in each framework, from the exported files as they are."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sweeper.core.files import read_json
from sweeper.core.folder import StudyFolder
from sweeper.core.framework_arguments import lightning_arguments
from sweeper.core.spec import TrialSpec
from sweeper.places import extensions_dir
from sweeper.run.launch import free_port
from sweeper.run.study_record import how_it_stands
from sweeper.worker.batches import Batches
from sweeper.worker.feed import TokenIds
from tests.support import environment

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

SCRIPTS = Path(__file__).parent / "scripts"
NUM_STEPS = 5
TOLERANCE = 1e-4


def winner_of(folder: StudyFolder):
    trial = how_it_stands(folder).winner
    return trial, TrialSpec.from_json(read_json(folder.trial(trial.number).spec))


def run(tmp_path: Path, command: str, **names: object) -> dict:
    """What a shell's command line, in which ``{name}`` stands for a path or number, has counted."""
    quoted = {name: shlex.quote(str(value)) for name, value in names.items()}
    said = subprocess.run(
        ["sh", "-c", command.format(**quoted)],
        cwd=tmp_path,
        env=environment(
            PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            TORCH_EXTENSIONS_DIR=str(extensions_dir()),
        ),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert 0 == said.returncode, said.stdout[-3000:] + said.stderr[-3000:]
    return json.loads((tmp_path / "counts.json").read_text())


def assert_trained_as(spec: TrialSpec, counted: dict) -> None:
    assert spec.accumulation_steps > 1
    assert spec.micro_size == counted["micro_batch"]
    assert spec.accumulation_steps == counted["accumulation"]
    assert spec.global_batch_size == counted["global_batch"]
    assert NUM_STEPS == counted["optimizer_steps"]
    seen = [spec.micro_size] * spec.accumulation_steps * NUM_STEPS
    assert seen == counted["seen_micro_batches"]
    assert counted["bf16"]
    assert spec.ds_config["zero_optimization"]["stage"] == counted["stage"]
    assert spec.ds_config["gradient_clipping"] == counted["clipping"]


def test_plain_deepspeed_has_the_losses_of_the_trial(study, tmp_path):
    trial, spec = winner_of(study)
    data = []
    for rank in range(spec.ranks):
        batches = Batches(spec, make_batch=TokenIds(512), data_rank=rank, device="cpu")
        data.append([batches.micro_batches(step) for step in range(NUM_STEPS)])
    torch.save(data, tmp_path / "data.pt")
    counted = run(
        tmp_path,
        "{launch} --master_port={port} {script} {config} data.pt counts.json",
        launch=study.bundle.launch,
        port=free_port(),
        script=SCRIPTS / "plain.py",
        config=study.bundle.ds_config,
    )
    assert_trained_as(spec, counted)
    losses = trial.outcome.measurement.losses[:NUM_STEPS]
    assert NUM_STEPS == len(losses)
    assert pytest.approx(losses, rel=TOLERANCE) == counted["losses"]


def test_hugging_faces_trainer_trains_as_the_trial_did(study, tmp_path):
    pytest.importorskip("transformers", reason="the Trainer needs transformers")
    pytest.importorskip("accelerate", reason="the Trainer needs accelerate")
    _, spec = winner_of(study)
    counted = run(
        tmp_path,
        "{launch} --master_port={port} {script} --deepspeed {config}"
        " $(cat {arguments}) --max_steps {steps} --counts counts.json --output_dir out"
        " --report_to none --save_strategy no",
        launch=study.bundle.launch,
        port=free_port(),
        script=SCRIPTS / "trainer.py",
        config=study.bundle.trainer_ds_config,
        arguments=study.bundle.trainer_arguments,
        steps=NUM_STEPS,
    )
    assert_trained_as(spec, counted)


def test_accelerate_trains_as_the_trial_did(study, tmp_path):
    pytest.importorskip("accelerate", reason="this is about accelerate")
    _, spec = winner_of(study)
    counted = run(
        tmp_path,
        "accelerate launch --config_file {config} --main_process_port {port}"
        " {script} {micro} counts.json",
        config=study.bundle.accelerate,
        port=free_port(),
        script=SCRIPTS / "accelerated.py",
        micro=spec.micro_size,
    )
    assert_trained_as(spec, counted)
    trained = [sample for samples in counted["samples"] for sample in samples]
    assert spec.ranks > 1
    assert spec.global_batch_size * NUM_STEPS == len(set(trained)) == len(trained)
    assert "sampler=DistributedSampler(dataset, num_replicas=2" in study.bundle.readme.read_text()


def test_lightnings_strategy_makes_the_trials_configuration_of_its_file(study):
    lightning = pytest.importorskip("lightning", reason="this is about lightning")
    from deepspeed.runtime.config import DeepSpeedConfig
    from lightning.pytorch.strategies import DeepSpeedStrategy

    _, spec = winner_of(study)
    strategy = DeepSpeedStrategy(config=str(study.bundle.lightning_ds_config))
    arguments = lightning_arguments(read_json(study.bundle.ds_config), {"hardware": {"ranks": 1}})
    trainer = lightning.Trainer(
        strategy=strategy, logger=False, **(arguments | {"accelerator": "cpu"})
    )
    module = lightning.LightningModule()
    module.trainer = trainer
    strategy._lightning_module = module
    strategy._init_config_if_needed()
    config = DeepSpeedConfig(strategy.config)
    assert spec.micro_size == config.train_micro_batch_size_per_gpu
    assert spec.accumulation_steps == config.gradient_accumulation_steps
    assert spec.ds_config["gradient_clipping"] == config.gradient_clipping
    assert config.zero_allow_untested_optimizer
    assert config.bfloat16_config.enabled
    assert spec.ds_config["zero_optimization"]["stage"] == config.zero_optimization_stage
    with pytest.raises(RuntimeError, match="only supported on CUDA"):
        strategy.setup_environment()
