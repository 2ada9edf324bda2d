"""One step of a model of the user's own: what is right, and the line for what is wrong."""

import pytest

pytest.importorskip("deepspeed")

import json
import re
from dataclasses import asdict

from sweeper.core.settings import HUGGING_FACE
from sweeper.run.ask import ask
from sweeper.worker.dry_run import Trained, dry_run

WRONG = [
    # (factory, arguments, batch, loss, said)
    ("nosuch.build", {}, None, None, "model._target_=nosuch.build cannot be imported from"),
    ("build", {}, None, None, "model._target_=build: type model._target_=<module>.<function>"),
    ("f.nix", {}, None, None, "has no attribute 'nix'"),
    ("f.not_a_function", {}, None, None, "is 3; name a function"),
    ("f.build", {"depth": 3}, None, None, "build() got an unexpected keyword argument 'depth'"),
    ("f.raises", {}, None, None, "cannot build the model: RuntimeError: no luck"),
    ("f.no_module", {}, None, None, "returned a dict of width: 1; return a torch.nn.Module"),
    ("f.WithoutVocabulary", {}, None, None, "no vocab_size, so no token ids can be drawn"),
    ("f.build", {}, None, None, "the model is a tensor of float32 (2, 9, 50), no scalar"),
    ("f.build", {}, None, "f.mean_of_samples", "is a tensor of float32 (2,), no scalar"),
    ("f.build", {}, None, "f.of_output_alone", "takes 1 positional argument but 2 were given"),
    ("f.Frozen", {}, None, None, "does not depend on a parameter that is trained"),
    ("f.build", {}, "f.without_samples", "f.mean", "unexpected keyword argument 'samples'"),
    ("f.build", {}, "f.one_too_many", "f.mean", "a tensor of int64 (3, 8) for 2 samples; return"),
    ("f.build", {}, "f.misnamed", "f.mean", "a dict of tokens: a tensor of int64 (2, 8) as the"),
]
RIGHT = [
    ("f.build", {"width": 16}, None, "f.mean"),
    ("f.build", {}, "f.pair", "f.mean"),
    ("f.build", {}, "f.named", "f.mean"),
    ("f.InOutput", {}, None, None),
    ("f.InDict", {}, None, None),
    ("f.LooksAtValues", {}, None, None),  # not on tensors without values
]


def trained(target, arguments, batch=None, loss=None):
    names = [n and re.sub(r"^f\.", "tests.unit.factories.", n) for n in (target, batch, loss)]
    return Trained(target=names[0], arguments=arguments, batch=names[1], loss=names[2], length=8)


def tried(target, arguments, batch, loss, *, room_bytes=2**30):
    return dry_run(trained(target, arguments, batch, loss), room_bytes=room_bytes)


@pytest.mark.parametrize(("target", "arguments", "batch", "loss", "said"), WRONG)
def test_a_mistake_is_one_line(target, arguments, batch, loss, said):
    line = tried(target, arguments, batch, loss)["mistake"]
    assert said in line
    assert 1 == len(line.splitlines())


@pytest.mark.parametrize(("target", "arguments", "batch", "loss"), RIGHT)
def test_what_can_take_a_step_has_none(target, arguments, batch, loss):
    assert tried(target, arguments, batch, loss)["mistake"] is None


@pytest.mark.parametrize(("target", "recomputes"), [("f.InDict", False), ("f.Recomputed", True)])
def test_whether_checkpointing_can_be_switched_on_is_found_out(target, recomputes):
    assert recomputes == tried(target, {}, None, None)["recomputes"]


# What a try takes


def test_a_model_too_large_for_real_tensors_is_not_built_of_them():
    found = tried("f.LooksAtValues", {"width": 10**9}, None, None)  # of 400 GB
    assert found["mistake"] is None
    assert "745.06 GiB of weights and gradients" in found["note"]
    assert 10**11 + 50 == sum(size * count for size, count in found["sizes"])


def test_a_model_that_finds_room_is_tried_on_real_tensors():
    found = tried("f.LooksAtValues", {"width": 8}, None, None)
    assert None is found["mistake"] is found.get("note")


def test_what_cannot_be_counted_beforehand_is_held_to_a_limit():
    request = asdict(trained("f.DrawsItsWidth", {}))  # as wide as a tensor says: of 400 GB
    answer = ask("sweeper.worker.dry_run", request, timeout_seconds=100, room_bytes=2**29)
    assert answer.document is not None, answer.reason
    assert answer.document["mistake"] is None
    assert "a step takes more than 512 MiB" in answer.document["note"]


def test_the_reason_of_a_child_that_ends_is_its_exception_not_the_advice_below_it():
    answer = ask("tests.unit.raises_at_length", {}, timeout_seconds=60, room_bytes=2**30)
    assert "ValueError: no such model" == answer.reason


# Hugging Face architectures

TINY = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "vocab_size": 256,
}
MIXTRAL = {
    "model_type": "mixtral",
    "architectures": ["MixtralForCausalLM"],
    **TINY,
    "num_local_experts": 4,
}
QWEN_MOE = {
    "model_type": "qwen2_moe",
    "architectures": ["Qwen2MoeForCausalLM"],
    **TINY,
    "num_experts": 4,
    "moe_intermediate_size": 32,
}
LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **TINY}
MAMBA = {"model_type": "mamba", "architectures": ["MambaForCausalLM"], "vocab_size": 256}
RESNET = {
    "model_type": "resnet",
    "architectures": ["ResNetForImageClassification"],
    "embedding_size": 8,
    "hidden_sizes": [8, 16],
    "depths": [1, 1],
}
MOBILENET = {
    "model_type": "mobilenet_v2",
    "architectures": ["MobileNetV2ForImageClassification"],
    "image_size": 64,
}
LLAVA = {
    "model_type": "llava",
    "architectures": ["LlavaForConditionalGeneration"],
    "text_config": {"model_type": "llama", **TINY},
    "vision_config": {"model_type": "clip_vision_model"},
}


def architecture(folder, document, **arguments):
    path = folder / "config.json"
    path.write_text(json.dumps(document))
    return trained(HUGGING_FACE, {"config": str(path), **arguments})


@pytest.mark.parametrize(
    ("document", "arguments"),
    [
        (MIXTRAL, {}),
        ({**MIXTRAL, "hidden_size": 4096, "intermediate_size": 14336}, {}),
        (QWEN_MOE, {}),
        (LLAMA, {"lora_rank": 4}),
        (MIXTRAL, {"lora_rank": 4, "lora_targets": ["q_proj", "v_proj"]}),
        (LLAMA, {"attention": "flash_attention_2"}),  # on a device alone
        ({**MAMBA, "hidden_size": 32, "num_hidden_layers": 2}, {}),  # without sdpa
        (RESNET, {}),
        (MOBILENET, {}),
    ],
    ids=[
        *("mixtral", "mixtral-wide", "qwen-moe", "lora", "mixtral-lora", "flash", "mamba"),
        *("resnet", "mobilenet"),
    ],
)
def test_an_architecture_takes_its_step_without_room_for_its_weights(tmp_path, document, arguments):
    found = dry_run(architecture(tmp_path, document, **arguments), room_bytes=0)
    assert None is found["mistake"] is found.get("note")
    assert found["recomputes"]
    assert bool(arguments.get("lora_rank")) == (found["sizes"] != found["trained_sizes"])


@pytest.mark.parametrize("adapters", [{}, {"lora_rank": 4}], ids=["whole", "adapters"])
@pytest.mark.parametrize(
    ("document", "arguments", "said"),
    [
        ({**LLAMA, "model_type": "foo"}, {}, "model_type foo is unknown to transformers"),
        ({**LLAMA, "model_type": "lama"}, {}, "which knows llama"),
        ({**LLAMA, "hidden_size": 30}, {}, "The hidden size (30) is not a multiple of the number"),
        ({**LLAMA, "num_hidden_layers": "two"}, {}, "'num_hidden_layers' expected int, got str"),
        ({**LLAMA, "vocab_size": 0}, {}, "vocab_size is 0, so there are no tokens"),
        (LLAMA, {"override": {"foo": 3}}, "model.override.foo=3: the config of llama has no foo"),
        (LLAMA, {"override": {"hiden_size": 3}}, "type model.override.hidden_size="),
        (LLAMA, {"attention": "nix"}, "model.attention=nix: LlamaForCausalLM has sdpa, flash_at"),
        (
            MAMBA,
            {"attention": "sdpa"},
            "model.attention=sdpa: MambaForCausalLM has eager; leave it out, or type model.atten",
        ),
        (LLAVA, {}, "no seq2seq model of model_type llava; what is trained here has one kind of"),
        (
            LLAMA,
            {"task": "seq2seq"},
            "no seq2seq model of model_type llama; type model.task=causal",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_impossible_architecture_is_one_line(tmp_path, document, arguments, said, adapters):
    line = dry_run(architecture(tmp_path, document, **arguments, **adapters), room_bytes=2**20)[
        "mistake"
    ]
    assert said in line
    assert line.startswith(f"model.config={tmp_path / 'config.json'}: ")
    assert 1 == len(line.splitlines())


@pytest.mark.parametrize(
    ("document", "targets", "said"),
    [
        (LLAMA, ["nope"], "model.lora_targets=[nope]: LlamaForCausalLM has no nope"),
        (LLAMA, ["q_proj", "nope"], "has no nope; its linear layers are q_proj, k_proj,"),
        (LLAMA, ["mlp"], "model.lora_targets=[mlp]: Target module LlamaMLP("),
        (MIXTRAL, None, "peft chooses none for MixtralForCausalLM; its linear layers are q_proj"),
    ],
)
def test_adapters_that_cannot_be_are_one_line_whatever_the_models_size(
    tmp_path, document, targets, said
):
    arguments = {"lora_rank": 4, "lora_targets": targets}
    line = dry_run(architecture(tmp_path, document, **arguments), room_bytes=0)["mistake"]
    assert said in line
    assert "type model.lora_targets=[q_proj]" in line
    assert 1 == len(line.splitlines())
