"""Hugging Face architectures: their shapes, weights, losses and FLOPs, and what is said of a bad config."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

import contextlib
import json
import os
import subprocess
import sys

import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode
from transformers.modeling_layers import GradientCheckpointingLayer

from models import hf
from sweeper import hf_config
from sweeper.core.exported import exported_layout, exported_settings
from sweeper.core.settings import HUGGING_FACE
from sweeper.errors import EnvironmentUnfit, UsageError
from sweeper.hydra_edge.explain import compose
from sweeper.worker.building import recompute
from sweeper.worker.feed import batch_maker, loss_of
from tests.support import ROOT, environment, nano

PUBLISHED = {  # what is counted in the published weights; tied tables once
    "bart-base": 139_420_416,
    "bert-base": 109_514_298,
    "distilbert-base": 66_985_530,
    "gemma-2b": 2_506_172_416,
    "gpt2": 124_439_808,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.2-1b": 1_235_814_400,
    "mistral-7b": 7_241_732_096,
    "opt-125m": 125_239_296,
    "phi-2": 2_779_683_840,
    "pythia-160m": 162_322_944,
    "qwen2.5-0.5b": 494_032_768,
    "qwen3-0.6b": 596_049_920,
    "roberta-base": 124_697_433,
    "t5-small": 60_506_624,
    "vit-base": 86_567_656,
}
WIDE = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
GROUPED = {**WIDE, "num_hidden_layers": 2, "num_key_value_heads": 2, "head_dim": 16}
TINY = {
    "gpt2": {"n_layer": 2, "n_embd": 64, "n_head": 4, "vocab_size": 512},
    "llama-3.2-1b": {**GROUPED, "vocab_size": 512},
    "qwen3-0.6b": {**GROUPED, "vocab_size": 512},
    "bert-base": {**WIDE, "num_hidden_layers": 2, "vocab_size": 512},
    "t5-small": {
        "num_layers": 2,
        "num_decoder_layers": 2,
        "d_model": 64,
        "d_ff": 128,
        "num_heads": 4,
        "d_kv": 16,
        "vocab_size": 512,
    },
    "vit-base": {**WIDE, "num_hidden_layers": 2, "image_size": 32, "patch_size": 8},
}


def tiny(name, *, seed=1, **arguments):
    model = hf.build(config=name, override=TINY[name], **arguments)
    model.draw_weights(seed, contextlib.nullcontext)
    return model


def batch_of(model, samples=4, length=32):
    generator = torch.Generator().manual_seed(0)
    return batch_maker(model, None)(samples=samples, length=length, generator=generator)


# Shapes


def test_every_shape_has_an_option_and_a_published_size():
    options = {path.stem for path in (ROOT / "conf" / "model" / "hf").glob("*.yaml")}
    assert set(PUBLISHED) == options == set(hf_config.shapes())


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED.items())
def test_a_shape_has_the_published_number_of_parameters(name, parameters):
    with torch.device("meta"):
        model = hf.build(config=name)
    assert parameters == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_option_is_the_architecture_of_its_name(name):
    settings = compose([f"+model=hf/{name}"])
    own = yaml.safe_load((ROOT / "conf" / "model" / "hf.yaml").read_text())
    assert HUGGING_FACE == settings.model_target
    assert {**own, "name": f"hf-{name}", "config": name} == settings.model


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_said_of_a_config_is_what_is_built(name):
    path = hf.shape_file(name)
    assert path.samefile(hf_config.config_file(name))
    document = json.loads(path.read_text())
    positions = hf.max_positions(document)
    if positions is not None:
        arguments = {"config": name}
        hf_config.check_architecture(arguments, sequence_length=positions)
        with pytest.raises(UsageError, match=f"{name} has {positions} positions"):
            hf_config.check_architecture(arguments, sequence_length=positions + 1)


@pytest.mark.parametrize(
    ("model_type", "more", "longest"),
    [
        ("bert", {}, 64),
        ("mpnet", {"pad_token_id": 0}, 62),
        ("roberta", {"pad_token_id": 0}, 63),
        ("luke", {}, 62),
    ],
)
def test_some_positions_begin_behind_the_padding_tokens(tmp_path, model_type, more, longest):
    path = tmp_path / "config.json"
    document = {"model_type": model_type, "max_position_embeddings": 64, **more}
    path.write_text(json.dumps({**document, "architectures": ["AForMaskedLM"]}))
    hf_config.check_architecture({"config": str(path)}, sequence_length=longest)
    with pytest.raises(UsageError, match=f"type workload.sequence_length={longest}$"):
        hf_config.check_architecture({"config": str(path)}, sequence_length=longest + 1)


def test_positions_that_are_typed_over_are_those_that_count():
    arguments = {"config": "gpt2", "override": {"n_positions": 32}}
    with pytest.raises(UsageError, match="gpt2 has 32 positions"):
        hf_config.check_architecture(arguments, sequence_length=33)


def test_the_losses_are_those_that_the_check_knows():
    assert set(hf.TASKS) == set(hf_config.ENDINGS)
    assert set(hf.TASKS.values()) == set(hf_config.TASKS)


# Models


@pytest.mark.parametrize("name", TINY)
def test_a_seed_decides_all_weights_whatever_they_are_created_in(name):
    models = [tiny(name, lora_rank=0 if name == "vit-base" else 2) for _ in range(2)]
    for model, dtype in zip(models, (torch.float32, torch.bfloat16), strict=True):
        model.to(dtype)
        for parameter in model.parameters():
            parameter.data.fill_(float("nan"))
        model.draw_weights(3, contextlib.nullcontext)
    for single, half in zip(*(model.parameters() for model in models), strict=True):
        assert bool(single.isfinite().all())
        assert torch.equal(single.bfloat16(), half)


@pytest.mark.parametrize("name", TINY)
def test_the_mean_over_micro_batches_is_the_global_batch(name):
    model = tiny(name).train()
    batch = batch_of(model)
    whole = loss_of(model, batch)
    halves = [batch[:2], batch[2:]]
    if isinstance(batch, tuple):
        halves = [tuple(part[i : i + 2] for part in batch) for i in (0, 2)]
    losses = torch.stack([loss_of(model, half) for half in halves])
    torch.testing.assert_close(losses.mean(), whole)


@pytest.mark.parametrize("name", TINY)
def test_the_flops_are_those_that_torch_counts(name):
    model = tiny(name, attention="eager")
    batch = batch_of(model)
    with FlopCounterMode(display=False) as counter:
        loss_of(model, batch).backward()
    # Norms, biases and tables of positions are counted as matrices.
    assert counter.get_total_flops() == pytest.approx(4 * model.flops_per_sample(32), rel=0.08)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize(("every", "on_cpu"), [(1, False), (2, False), (1, True)])
def test_every_nth_block_is_computed_again_and_changes_no_gradient(name, every, on_cpu):
    model = tiny(name).train()
    batch = batch_of(model)
    loss_of(model, batch).backward()
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()

    changes = {"checkpointing.every_nth_block": every, "checkpointing.on_cpu": on_cpu}
    recompute(model, exported_layout(exported_settings(nano(**changes).flat()), where="here"))
    blocks = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    assert [i % every == 0 for i in range(len(blocks))] == [
        m.gradient_checkpointing for m in blocks
    ]
    loss_of(model, batch).backward()
    torch.testing.assert_close([p.grad for p in model.parameters()], expected)


def test_dropout_is_off_unless_it_is_asked_for():
    def rates(model):
        return {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)}

    assert {0.0} == rates(tiny("gpt2"))
    assert {0.1} == rates(tiny("gpt2", dropout=True))


def test_adapters_are_all_that_is_trained_and_change_nothing_at_first():
    plain, adapted = tiny("gpt2"), tiny("gpt2", lora_rank=2)
    trained = [name for name, p in adapted.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora" in name for name in trained)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            assert not bool(parameter.any())
    assert plain.flops_per_sample(32) * 4 / 6 == pytest.approx(
        adapted.flops_per_sample(32), rel=0.1
    )


def test_a_key_that_the_config_does_not_have_is_refused():
    with pytest.raises(ValueError, match="the config of gpt2 has no layers"):
        hf.build(config="gpt2", override={"layers": 2})


# What is said before anything is started


def test_a_folder_in_the_place_of_a_config_is_called_one(tmp_path):
    with pytest.raises(UsageError, match=r"is a folder; type model.config=.*config.json"):
        hf_config.check_architecture({"config": str(tmp_path)}, sequence_length=32)


@pytest.mark.parametrize(
    ("document", "arguments", "said"),
    [
        (None, {}, "there is no such file, and no such shape; shapes are bart-base"),
        ("{", {}, "is no JSON"),
        ({"hidden_size": 3}, {}, "has no model_type"),
        ({"model_type": "gpt2"}, {}, "names no architecture, for which there is no loss"),
        (
            {"model_type": "bert", "architectures": ["BertForQuestionAnswering"]},
            {},
            "names BertForQuestionAnswering, for which there is no loss; type model.task=causal",
        ),
        ([], {}, "has no model_type; type model.config=<the config.json"),
        ({"model_type": ["gpt2"]}, {}, "has no model_type"),
        (
            {"model_type": "llama", "architectures": "LlamaForCausalLM"},
            {},
            "architectures is 'LlamaForCausalLM', no list",
        ),
        ({"model_type": "gpt2"}, {"task": "causal", "lora_rank": -1}, "type model.lora_rank=8"),
        (
            {"model_type": "gpt2"},
            {"task": "causal", "lora_targets": "c_attn"},
            r"is no list of layers; type model.lora_targets=\[c_attn\]",
        ),
        ({"model_type": "gpt2"}, {"task": "chat"}, "model.task=chat: allowed are causal, masked"),
        (
            {"model_type": "own", "architectures": ["OwnForCausalLM"], "auto_map": {"A": "b.C"}},
            {},
            "where you trust it, type model.trust_remote_code=true",
        ),
    ],
)
def test_a_config_that_cannot_be_trained_is_one_line(tmp_path, document, arguments, said):
    path = tmp_path / "config.json"
    if document is not None:
        path.write_text(document if isinstance(document, str) else json.dumps(document))
    with pytest.raises(UsageError, match=said):
        hf_config.check_architecture({"config": str(path), **arguments}, sequence_length=8)


def test_a_folder_is_one_line_that_names_the_file_in_it(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    said = f"is a folder; type model.config={tmp_path}/config.json"
    with pytest.raises(UsageError, match=said):
        hf_config.check_architecture({"config": str(tmp_path)}, sequence_length=8)


def test_an_attention_that_is_not_installed_is_of_the_environment():
    arguments = {"config": "llama-3.2-1b", "attention": "flash_attention_3"}
    with pytest.raises(
        EnvironmentUnfit, match="type pip install flash-attn-interface, or leave model"
    ):
        hf_config.check_architecture(arguments, sequence_length=8)


def test_code_of_the_architecture_is_run_where_it_is_trusted(tmp_path, monkeypatch):
    cache = str(tmp_path / "cache")  # where transformers copies it
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", cache)
    path = tmp_path / "config.json"
    code = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnForCausalLM"}
    document = {"model_type": "own", "architectures": ["OwnForCausalLM"], "auto_map": code}
    path.write_text(json.dumps(document))
    (tmp_path / "own.py").write_text(OWN)
    arguments = {"config": str(path), "trust_remote_code": True, "attention": "eager"}
    hf_config.check_architecture(arguments, sequence_length=8)
    model = hf.build(**arguments)
    assert "OwnForCausalLM" == type(model.model).__name__
    model.draw_weights(1, contextlib.nullcontext)
    assert bool(loss_of(model, batch_of(model)).isfinite())
    assert model.flops_per_sample(32) is None


OWN = """\
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

class OwnConfig(PretrainedConfig):
    model_type = "own"

    def __init__(self, vocab_size=64, **more):
        super().__init__(**more)
        self.vocab_size = vocab_size

class OwnForCausalLM(PreTrainedModel):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.table = nn.Embedding(config.vocab_size, 16)
        self.head = nn.Linear(16, config.vocab_size)
        self.post_init()

    def forward(self, input_ids):
        return CausalLMOutput(logits=self.head(self.table(input_ids)))
"""


@pytest.mark.parametrize(
    ("missing", "more"), [("transformers", ()), ("peft", ("model.lora_rank=2",))]
)
def test_what_is_not_installed_is_said_with_what_to_type(tmp_path, missing, more):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(HIDE.format(missing))
    path = os.pathsep.join([str(hidden), environment()["PYTHONPATH"]])
    finished = subprocess.run(
        [sys.executable, "-m", "sweeper", "explain", "+model=hf/gpt2", *more],
        cwd=tmp_path,
        env=environment(PYTHONPATH=path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert 4 == finished.returncode, finished.stderr
    (line,) = finished.stderr.strip().splitlines()
    assert f"needs {missing}, which is not installed" in line
    assert "type pip install 'deepspeed-sweeper[hf]'" in line


HIDE = """\
import importlib.machinery, sys

class Finder(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name == "{}" else super().find_spec(name, path, target)

sys.meta_path[:] = [Finder if f is importlib.machinery.PathFinder else f for f in sys.meta_path]
"""
