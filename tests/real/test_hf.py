"""Hugging Face architectures through real studies, tiny, and the stages and adapters they go with."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from sweeper.core.folder import StudyFolder, TrialFolder
from sweeper.core.outcome import Measured, measurement_of, reason_of
from sweeper.core.plan import plan
from sweeper.core.settings import HUGGING_FACE
from sweeper.run.ops import ensure_ops
from sweeper.run.runners import runner
from tests.support import MACHINE, nano, run_sweeper

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

GROUPED = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 256,
}
KEYS = {**GROUPED, "num_key_value_heads": 2, "head_dim": 8}
IMAGES = {**GROUPED, "image_size": 16, "patch_size": 8, "num_labels": 10}
SMALL_T5 = {"d_model": 32, "d_ff": 64, "num_heads": 4, "d_kv": 8, "num_layers": 2}
# model_type -> what the config says beside it; a file of each is written as its user has it
ARCHITECTURES = {
    "gpt2": {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 64, "vocab_size": 256},
    "llama": KEYS,
    "qwen2": KEYS,
    "gemma": KEYS,
    "mixtral": {**KEYS, "num_local_experts": 4},
    "opt": {**GROUPED, "ffn_dim": 64, "word_embed_proj_dim": 32},
    "bert": GROUPED,
    "roberta": {**GROUPED, "max_position_embeddings": 66, "pad_token_id": 1},
    "t5": {**SMALL_T5, "num_decoder_layers": 2, "vocab_size": 256},
    "vit": IMAGES,
}
NAMES = {
    "gpt2": "GPT2LMHeadModel",
    "opt": "OPTForCausalLM",
    "bert": "BertForMaskedLM",
    "roberta": "RobertaForMaskedLM",
    "t5": "T5ForConditionalGeneration",
    "vit": "ViTForImageClassification",
}
TWO_TRIALS = (
    "hydra/sweeper=optuna",
    "space=none",
    "zero=choice(stage0,stage3)",
    "hydra.sweeper.n_trials=2",
    "hydra.sweeper.finalists=0",
    "workload.sequence_length=16",
    "checkpointing=full",
    "measure.min_warmup_steps=1",
    "measure.max_warmup_steps=1",
    "measure.min_steps=3",
    "measure.max_steps=3",
    "measure.breakdown_steps=0",
    "hydra.sweep.dir=study",
)


@pytest.fixture(scope="module", autouse=True)
def built_ops():
    ensure_ops(["ShareMemCommBuilder", "CPUAdamBuilder"], accelerator="cpu", say=print)


def write_config(folder, model_type):
    folder.mkdir(exist_ok=True)
    name = NAMES.get(model_type, f"{model_type.capitalize()}ForCausalLM")
    document = {"model_type": model_type, "architectures": [name], **ARCHITECTURES[model_type]}
    path = folder / "config.json"
    path.write_text(json.dumps(document))
    return path


@pytest.fixture(scope="module")
def studies(request, tmp_path_factory):
    """Those of the tests that were selected, two at a time: their trials wait for each other."""
    folder = tmp_path_factory.mktemp("studies")

    def study(model_type):
        write_config(folder / model_type, model_type)
        arguments = ("+model=hf", "model.config=config.json", *TWO_TRIALS)
        return run_sweeper(*arguments, cwd=folder / model_type, timeout=300), folder / model_type

    with ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(study, name) for name in _wanted(request)}


def _wanted(request):
    parameters = [getattr(item, "callspec", None) for item in request.session.items]
    return [
        p.params["model_type"] for p in parameters if p is not None and "model_type" in p.params
    ]


# The others in `make test-frameworks`.
OFTEN = ("llama",)


@pytest.mark.parametrize(
    "model_type",
    [
        pytest.param(name, marks=[] if name in OFTEN else [pytest.mark.slow])
        for name in ARCHITECTURES
    ],
)
def test_an_architecture_is_tuned_by_its_config_and_trains_the_same_at_stage_3(model_type, studies):
    finished, folder = studies[model_type].result()
    assert 0 == finished.returncode, finished.stderr
    trials = StudyFolder(folder / "study").read_trials()
    assert {0, 3} == {trial.settings["zero.stage"] for trial in trials}
    first, second = (measurement_of(trial.outcome) for trial in trials)
    assert first is not None, reason_of(trials[0].outcome)
    assert second is not None, reason_of(trials[1].outcome)  # perhaps clearly beaten
    assert pytest.approx(first.losses[:3], rel=1e-4) == second.losses[:3]
    assert (folder / "study" / "best" / "ds_config.json").is_file()


# One trial of one architecture


def trial(folder, config, **changes):
    model = {"name": "hf", "_target_": HUGGING_FACE, "config": str(config)}
    arguments = {n.removeprefix("model."): v for n, v in changes.items() if n.startswith("model.")}
    rest = {n: v for n, v in changes.items() if not n.startswith("model.")}
    settings = nano(model={**model, **arguments}, **{"workload.sequence_length": 16, **rest})
    outcome = runner("warm").run(plan(settings, MACHINE).ready, TrialFolder(folder))
    assert isinstance(outcome, Measured), reason_of(outcome)
    return outcome.measurement


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    return trial(folder / "trial", write_config(folder, "llama"))


@pytest.mark.parametrize(
    "changes",
    [
        {"zero.stage": 2, "batch.micro_size": 4},
        {"zero.stage": 3, "hardware.ranks": 2},
        {"checkpointing.every_nth_block": 2},
        {"zero.stage": 3, "offload.optimizer": "cpu", "offload.params": "cpu"},
    ],
    ids=str,
)
def test_every_option_trains_the_same(tmp_path, plain, changes):
    measured = trial(tmp_path / "trial", write_config(tmp_path, "llama"), **changes)
    assert pytest.approx(plain.losses[:3], rel=1e-4) == measured.losses[:3]


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapted")
    return trial(folder / "trial", write_config(folder, "llama"), **{"model.lora_rank": 4})


@pytest.mark.parametrize(
    "changes",
    [
        {"zero.stage": 1},
        {"zero.stage": 2, "offload.optimizer": "cpu"},
        {"zero.stage": 3, "hardware.ranks": 2},
        {"zero.stage": 3, "checkpointing.every_nth_block": 1},
    ],
    ids=str,
)
def test_adapters_train_the_same_at_every_stage(tmp_path, adapted, changes):
    path = write_config(tmp_path, "llama")
    measured = trial(tmp_path / "trial", path, **{"model.lora_rank": 4, **changes})
    assert pytest.approx(adapted.losses[:3], rel=1e-4) == measured.losses[:3]


def test_adapters_go_with_bf16_at_stage_3(tmp_path):
    path = write_config(tmp_path, "llama")
    changes = {"model.lora_rank": 4, "precision.mode": "bf16", "zero.stage": 3}
    assert trial(tmp_path / "trial", path, **changes).losses


def test_the_losses_are_those_of_the_architecture_in_a_plain_loop(tmp_path, plain):
    from transformers import AutoConfig, AutoModelForCausalLM

    from models import hf
    from sweeper.worker.batches import Batches
    from sweeper.worker.feed import TokenIds

    path = write_config(tmp_path, "llama")
    spec = plan(nano(**{"workload.sequence_length": 16}), MACHINE).ready
    drawn = hf.build(config=str(path))
    drawn.draw_weights(spec.seed, lambda parameters: torch.no_grad())
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(path))
    model.load_state_dict(drawn.model.state_dict())
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1
    )
    batches = Batches(spec, make_batch=TokenIds(256), data_rank=0, device="cpu")
    for step, expected in enumerate(plain.losses[:3]):
        tokens = torch.cat(batches.micro_batches(step))
        loss = model(input_ids=tokens, labels=tokens).loss
        assert pytest.approx(expected, rel=1e-4) == loss.item()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
