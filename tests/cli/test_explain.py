"""``sweeper explain``: what it prints, and that it leaves nothing behind."""

import json
import subprocess
import sys

import pytest

from sweeper.hydra_edge.explain import compose
from tests.support import environment, run_sweeper

XL_ON_EIGHT = ("+model=gpt2-xl", "hardware.device_memory=24GiB", "hardware.ranks=8")
LLAMA_ON_ONE = ("+model=llama-8b", "hardware.device_memory=24GiB")

ERRORS = [
    # (arguments, said, what to type)
    ((), "no model was given", "type +model=gpt2"),
    (("+model=gtp2",), "there is no model gtp2", "type +model=gpt2"),
    (("+model=gpt2", "zero=stage7"), "zero=stage7: allowed are stage0", "type zero=stage"),
    (("+model=gpt2", "zero.stag=2"), "there is no setting zero.stag", "type zero.stage="),
    (("+model=gpt2", "model.width=abc"), "model.width=abc", "a whole number"),
    (("+model=gpt2", "hardware.device_memory=x"), "hardware.device_memory=x: not a size", "8GiB"),
    (
        ("+model=gpt2", "hardware.device_memory=24"),
        "hardware.device_memory=24: is 24 bytes",
        "type for example hardware.device_memory=24GiB",
    ),
    (("+model=gpt2", "a=("), "does not parse", "type for example"),
    (
        ("+model=gpt2", "batch.micro_size=choice(1,2)"),
        "explain is of one trial",
        "type batch.micro_size=1",
    ),
    (("+model=gpt2", "model.heads=7"), "width=768 is not a multiple of heads=7", "models.md has"),
    (("model._target_=no_such.build",), "cannot be imported from", "what is asked of a factory"),
    (("--cfg", "job"), "explain --cfg: takes settings alone", "type python -m sweeper explain"),
]


def explained(*arguments, cwd, **more):
    """What is printed, and that nothing else happens."""
    finished = run_sweeper("explain", *arguments, cwd=cwd, **more)
    assert 0 == finished.returncode, finished.stderr
    assert "" == finished.stderr
    assert [] == list(cwd.iterdir())
    return finished.stdout


def proposed(text):
    """What would make it fit: a list of overrides for each line."""
    lines = text.partition("What would make it ")[2].partition("\n\n")[0].splitlines()[2:]
    return [line.partition(" %  ")[2].split() for line in lines]


@pytest.mark.parametrize(("arguments", "said", "hint"), ERRORS)
def test_a_mistake_is_one_line(tmp_path, arguments, said, hint):
    finished = run_sweeper("explain", *arguments, cwd=tmp_path)
    assert 2 == finished.returncode, finished.stderr
    assert 1 == len(finished.stderr.strip().splitlines()), finished.stderr
    assert said in finished.stderr
    assert hint in finished.stderr
    assert "" == finished.stdout
    assert [] == list(tmp_path.iterdir())


def test_hardware_that_is_not_there_is_judged_by_what_is_said_of_it(tmp_path):
    text = explained(*XL_ON_EIGHT, cwd=tmp_path)
    words = " ".join(text.split())
    for part in (
        "gpt2-xl: 1,557,611,200 parameters",
        "8 cuda ranks with 24 GiB a device",
        "plan legal",
        "of 24 GiB (hardware.device_memory): probably does not fit, P(fits) = ",
        "the host of 8 ranks needs about 16 GiB; what it has is not known",
    ):
        assert part in words
    assert ["zero=stage1"] in proposed(text)
    assert ["parallel=pipeline2"] in proposed(text)
    assert all(len(line) <= 80 for line in text.splitlines())


def test_what_is_proposed_fits_when_it_is_typed(tmp_path):
    text = explained(*LLAMA_ON_ONE, cwd=tmp_path)
    assert "does not fit" in " ".join(text.split())
    assert 1 <= len(proposed(text)) <= 6
    for overrides in proposed(text)[:2]:
        again = explained(*LLAMA_ON_ONE, *overrides, cwd=tmp_path)
        assert ": surely fits, P(fits) > 99 %" in " ".join(again.split())
        assert "What would make it" not in again


def rows(text):
    """What stands in each component's row, under the first word of its table's title."""
    found, title = {}, ""
    for line in text.splitlines():
        title = line.split()[0] if "at peak" in line else title
        found[title, line[:28].strip()] = line[28:]
    return found


def test_every_component_is_listed_with_its_peak_and_its_own_moment(tmp_path):
    found = rows(explained(*XL_ON_EIGHT, cwd=tmp_path))
    on_device = [name for title, name in found if title == "device"]
    for name in (
        "parameters",
        "master weights",
        "optimizer states",
        "gradients",
        "buckets and communication",
        "activations",
        "checkpointing=every_second",
        "checkpointing=full",
        "logits and loss",
        "workspace",
    ):
        assert name in on_device
    assert "framework base" in [name for title, name in found if title == "host"]
    at_peak, at_most = found["device", "activations"].split()[:2]
    assert "-" == at_peak
    assert float(at_most) > 1
    assert found["device", "activations"].endswith("in the backward pass")
    assert found["device", "total"].endswith("in the optimizer's step")
    checkpointed = rows(explained(*XL_ON_EIGHT, "checkpointing=full", cwd=tmp_path))
    assert ("device", "checkpointing=none") in checkpointed


def test_hpz_needs_more_than_stage_3_does(tmp_path):
    def parameters(*arguments):
        text = explained(*XL_ON_EIGHT, "zero=stage3", *arguments, cwd=tmp_path)
        return float(rows(text)["device", "parameters"].split()[0])

    plain, whole = parameters(), parameters("zero.hpz_partition_size=8")
    assert plain < whole < parameters("zero.hpz_partition_size=2")


def test_what_more_ranks_need_with_hpz_is_what_it_is_when_they_are_typed(tmp_path):
    hpz = ("+model=gpt2-xl", "hardware.device_memory=16GiB", "hardware.ranks=4", "zero=stage3_hpz")
    larger = (*hpz, "batch.micro_size=2")
    text = explained(*larger, cwd=tmp_path)
    (promised,) = [row for row in text.splitlines() if row.endswith("hardware.ranks=8")]
    again = explained(*larger, "hardware.ranks=8", cwd=tmp_path)
    assert f"needs about {' '.join(promised.split()[:2])} " in again


def test_the_second_copy_of_hpz_is_within_a_node():
    many = ("+model=gpt2-nano", "hardware.device_memory=24GiB", "zero=stage3_hpz")
    for ranks, node, within in ((4, 8, 4), (16, 8, 8), (8, 2, 2), (8, "null", 8)):
        typed = (f"hardware.ranks={ranks}", f"hardware.ranks_per_node={node}")
        assert within == compose([*many, *typed]).zero.hpz_partition_size


def test_the_limit_is_what_there_is_where_more_is_asked_for(tmp_path):
    text = explained(*XL_ON_EIGHT, "hardware.memory_limit=48GiB", cwd=tmp_path)
    words = " ".join(text.split())
    assert (
        "of 24 GiB (hardware.device_memory; hardware.memory_limit=48GiB is more than there is): "
        "probably does not fit" in words
    )
    small = " ".join(explained(*XL_ON_EIGHT, "hardware.memory_limit=8GiB", cwd=tmp_path).split())
    assert "of 8 GiB (hardware.memory_limit): does not fit, P(fits) < 1 %" in small
    here = explained("+model=gpt2-nano", "hardware.memory_limit=900TiB", cwd=tmp_path)
    assert "a rank's share of this host; hardware.memory_limit=900TiB is more" in " ".join(
        here.split()
    )


@pytest.mark.slow
def test_no_layout_is_proposed_that_the_plan_refuses(tmp_path):
    for device in ("1GiB", "8GiB"):
        small = ("+model=gpt2-xl", f"hardware.device_memory={device}", "hardware.ranks=4")
        text = explained(*small, cwd=tmp_path)
        assert "parallel=tensor" not in text  # it has 25 heads
        for overrides in proposed(text)[:2]:
            assert "plan      legal" in explained(*small, *overrides, cwd=tmp_path)


def test_a_layout_that_is_not_allowed_has_its_memory_and_what_is_allowed(tmp_path):
    seven = ("+model=gpt2-xl", "hardware.device_memory=24GiB", "hardware.ranks=7")
    text = explained(*seven, cwd=tmp_path)
    assert "not allowed: " in text
    assert "allowed   with workload.global_batch_size=63, or with hardware.ranks=8" in text
    assert "optimizer states" in text
    assert ["workload.global_batch_size=63", "zero=stage1"] in proposed(text)
    again = explained(*seven, *proposed(text)[0], cwd=tmp_path)
    assert "plan      legal" in again
    assert "surely fits" in " ".join(again.split())


@pytest.mark.slow
def test_a_host_is_judged_by_the_ranks_of_its_node(tmp_path):
    many = ("+model=gpt2-xl", "hardware.device_memory=24GiB", "hardware.ranks=64")
    offloaded = (*many, "zero=stage2", "offload=optimizer")

    def words(*arguments):
        return " ".join(explained(*offloaded, *arguments, cwd=tmp_path).split())

    assert "8 nodes of 8 ranks (hardware.ranks_per_node): the host of each needs" in words()
    assert "16 nodes of 4 ranks" in words("hardware.ranks_per_node=4")
    small = words("hardware.host_memory=8GiB")
    assert "of 8 GiB: does not fit, P(fits) < 1 %" in small
    assert "of 4096 GiB: surely fits, P(fits) > 99 %" in words("hardware.host_memory=4TiB")


def test_where_only_the_host_is_short_the_advice_is_of_the_host(tmp_path):
    short = (*XL_ON_EIGHT, "zero=stage3", "offload=optimizer", "hardware.host_memory=17GiB")

    def words(*arguments):
        return " ".join(explained(*short, *arguments, cwd=tmp_path).split())

    assert "offload=optimizer_and_params" not in words()
    tight = words("hardware.device_memory=8GiB", "hardware.memory_limit=6GiB")
    assert "The host is short. What needs least of it, 16 GiB a node" in tight
    larger = tight.partition("type hardware.host_memory=")[2].split()[0]
    host = words(f"hardware.host_memory={larger}").partition("the host of 8 ranks")[2]
    assert ": surely fits" in host[: host.index("P(fits)")]


def test_page_locked_memory_is_rounded_up_on_the_host(tmp_path):
    offloaded = (*XL_ON_EIGHT, "zero=stage2", "offload=optimizer")
    assert "page-locked rounding" in explained(*offloaded, cwd=tmp_path)
    assert "page-locked rounding" not in explained(
        *offloaded, "offload.pin_memory=false", cwd=tmp_path
    )


def test_a_host_for_ranks_on_the_cpu_can_be_described(tmp_path):
    text = explained(
        "+model=gpt2-xl", "hardware.ranks=4", "hardware.host_memory=256GiB", cwd=tmp_path
    )
    words = " ".join(text.split())
    assert "4 cpu ranks on a host of 256 GiB; described, need not be there" in words
    assert "of 64 GiB (a rank's share of hardware.host_memory): surely fits" in words


def test_a_change_is_named_in_the_form_that_was_typed(tmp_path):
    assert ["zero.stage=1"] in proposed(explained(*XL_ON_EIGHT, "zero.stage=0", cwd=tmp_path))


def test_the_configuration_for_deepspeed_comes_last(tmp_path):
    text = explained("+model=gpt2-nano", "zero=stage2", cwd=tmp_path)
    config = json.loads(text.partition("\nds_config.json\n")[2])
    assert 2 == config["zero_optimization"]["stage"]


def test_settings_that_do_nothing_are_noted(tmp_path):
    text = explained("+model=gpt2-nano", "zero.stage3_prefetch_bucket_size=0", cwd=tmp_path)
    assert "zero.stage3_prefetch_bucket_size=0 does nothing" in " ".join(text.split())


def test_what_is_not_allowed_says_its_rule_and_what_would_be(tmp_path):
    text = explained("+model=gpt2-nano", "offload=optimizer", cwd=tmp_path)
    assert "not allowed: offload.optimizer=cpu needs ZeRO stage 1" in " ".join(text.split())
    assert "optimizer-offload-needs-zero" in text
    assert "allowed   with zero=stage1\n" in text
    assert "With zero=stage1 it would be:" in text
    assert "ds_config.json" not in text


def test_all_that_is_not_allowed_is_said_with_what_would_be_and_its_memory(tmp_path):
    three = (*LLAMA_ON_ONE, "hardware.ranks=3", "offload=optimizer")
    text = explained(*three, cwd=tmp_path)
    for rule in ("optimizer-offload-needs-zero", "micro-batches-fill-the-global-batch"):
        assert rule in text
    near = "zero=stage1 workload.global_batch_size=63"
    assert f"with {near}, or with zero=stage1 hardware.ranks=2" in " ".join(text.split())
    assert f"With {near} it would be:" in text
    assert ("device", "parameters") in rows(text)
    again = explained(*three, *proposed(text)[0], cwd=tmp_path)
    assert "plan      legal" in again
    assert "surely fits" in " ".join(again.split())


@pytest.mark.slow
def test_nothing_is_proposed_where_no_change_of_these_helps(tmp_path):
    text = explained("+model=gpt2-nano", "workload.sequence_length=256", cwd=tmp_path)
    assert "sequence-fits-the-model" in text
    assert "What would make it" not in text
    assert "Were it allowed, it would be:" in text
    tiny = explained("+model=llama-8b", "hardware.device_memory=1GiB", cwd=tmp_path)
    assert "None of these makes it surely fit" in tiny
    assert "smaller micro-batch" not in tiny  # it is 1 already
    assert "What needs least of all" in tiny


@pytest.mark.parametrize(
    "limit",
    [
        ("hardware.memory_limit=150MiB",),
        ("hardware.memory_limit=600MiB",),
        ("hardware.host_memory=1GiB", "hardware.ranks=2"),
    ],
)
def test_a_limit_that_the_framework_alone_fills_is_told_with_one_that_would_do(tmp_path, limit):
    nano = ("+model=gpt2-nano", "hardware=cpu", *limit)
    text = explained(*nano, cwd=tmp_path)
    assert "the framework alone takes 594 MiB" in text
    assert "None of these" not in text
    typed = text.partition("would do for these: type ")[2].split()[0]
    again = explained(*nano, typed, cwd=tmp_path)
    assert "surely fits, P(fits) > 99 %" in " ".join(again.split())


def test_room_for_a_larger_micro_batch_is_told(tmp_path):
    text = explained("+model=gpt2-nano", cwd=tmp_path)
    assert "batch.micro_size=4 is the largest micro-batch" in text
    assert "What would make it" not in text


def test_without_a_gpu_it_says_how_to_ask_for_one(tmp_path):
    text = explained("+model=gpt2", "hardware=cuda", cwd=tmp_path, CUDA_VISIBLE_DEVICES="")
    words = " ".join(text.split())
    assert "needs as many CUDA devices; there are 0" in words
    assert "type hardware.device_memory=24GiB" in words
    assert "what a device has is not known" in words


def test_a_gpu_is_described_by_its_name(tmp_path):
    text = explained(
        "+model=llama-8b", "hardware=h100", "hardware.ranks=8", "zero=stage2", cwd=tmp_path
    )
    words = " ".join(text.split())
    assert (
        "8 cuda ranks with 79 GiB a device (NVIDIA H100 80GB HBM3), 450 GB/s to the next" in words
    )
    assert "64 samples of 1024 tokens" in words
    assert "plan legal" in words
    assert "the host of 8 ranks needs about 16 GiB of 2048 GiB" in words


def test_an_accelerator_without_its_group_is_explained_with_what_the_group_brings(tmp_path):
    typed = ("+model=gpt2-xl", "hardware.accelerator=cuda", "hardware.ranks=8")
    words = " ".join(explained(*typed, cwd=tmp_path, CUDA_VISIBLE_DEVICES="").split())
    assert "hardware.accelerator=cuda is taken for hardware=cuda" in words
    assert "64 samples of 1024 tokens" in words
    assert "bf16" in words


def test_trials_on_a_gpu_that_is_not_here_are_refused_before_anything_is_made(tmp_path):
    for typed in (("hardware=h100", "hydra/sweeper=optuna"), ("hardware=cuda",)):
        refused = run_sweeper("+model=gpt2-nano", *typed, cwd=tmp_path, CUDA_VISIBLE_DEVICES="")
        assert 4 == refused.returncode
        (line,) = refused.stderr.strip().splitlines()
        assert "this machine has no CUDA device; type hardware=cpu for trials here" in line
        assert [] == list(tmp_path.iterdir())


@pytest.mark.slow
def test_what_else_would_be_needed_is_told_from_what_would_do_instead(tmp_path):
    small = (
        "+model=gpt2-xl",
        "hardware.device_memory=2.2GiB",
        "hardware.ranks=8",
        "batch.micro_size=4",
    )
    words = " ".join(explained(*small, cwd=tmp_path).split())
    assert " too." not in words
    assert "It would surely fit with these and workload.sequence_length=512 together" in words


@pytest.mark.slow
def test_a_model_that_cannot_be_traced_is_explained_with_what_is_known(tmp_path):
    text = explained("model._target_=tests.unit.factories.LooksAtValues", cwd=tmp_path)
    assert "memory not known: " in text
    assert "its 850 parameters, 850 of them trained" in " ".join(text.split())
    assert "plan      legal" in text
    assert "ds_config.json" in text


def config_of(folder, **keys):
    sizes = {"hidden_size": 1024, "intermediate_size": 4096, "vocab_size": 32000}
    heads = {"num_attention_heads": 16, "num_key_value_heads": 4, "num_hidden_layers": 2}
    document = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **sizes, **heads}
    path = folder / "config.json"
    path.write_text(json.dumps({**document, **keys}))
    return ("+model=hf", f"model.config={path}")


def test_of_adapters_it_is_said_what_weights_and_states_take(tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    text = " ".join(explained(*config_of(tmp_path), "model.lora_rank=4", cwd=here).split())
    # In fp32; the two states of those that are trained, 4 (1024 + 1024) + 4 (1024 + 256) a block, are little.
    assert "its 95,976,448 parameters, 26,624 of them trained, take at least 366 MiB" in text


NO_SUCH_LAYER = ("model.lora_rank=4", "model.lora_targets=[nope]")


@pytest.mark.parametrize(
    ("command", "keys", "more", "said"),
    [
        (("explain",), {"model_type": "foo"}, (), "model_type foo is unknown to transformers"),
        (("explain",), {}, NO_SUCH_LAYER, "LlamaForCausalLM has no nope"),
        ((), {}, NO_SUCH_LAYER, "LlamaForCausalLM has no nope"),
    ],
    ids=["explain-type", "explain-adapters", "study-adapters"],
)
def test_an_impossible_model_is_refused_by_both_before_anything_else(
    tmp_path, command, keys, more, said
):
    here = tmp_path / "here"
    here.mkdir()
    search = () if command else ("hydra/sweeper=optuna", "space=none")
    finished = run_sweeper(*command, *config_of(tmp_path, **keys), *more, *search, cwd=here)
    assert 2 == finished.returncode, finished.stderr
    (line,) = finished.stderr.strip().splitlines()
    assert said in line
    assert line.endswith("docs/models-hf.md says what is asked of a config")
    assert [] == list(here.iterdir())


def test_a_device_that_is_described_is_a_gpu_unless_something_else_is_typed():
    described = ("+model=gpt2-nano", "hardware.device_memory=24GiB")
    gpu = compose(described)
    assert ("cuda", "bf16") == (gpu.hardware.accelerator, gpu.precision.mode)
    assert "cpu" == compose([*described, "hardware=cpu"]).hardware.accelerator
    assert "fp32" == compose([*described, "precision=fp32"]).precision.mode


def test_it_imports_nothing_heavy(tmp_path):
    code = (
        "import sys, json\n"
        "from sweeper.cli import main\n"
        "main()\n"
        "heavy = {'torch', 'deepspeed', 'optuna', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "open('heavy.json', 'w').write(json.dumps(sorted(heavy)))\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, "explain", "+model=gpt2-nano"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert [] == json.loads((tmp_path / "heavy.json").read_text())
