import pytest

pytest.importorskip("torch")

import importlib
import inspect
import re

import torch
import yaml

from models.bert import IGNORED, RUN, split_masked
from models.layers import AttentionCore, rotate
from models.llama import GroupedQueryAttention
from models.moe import MixtureOfExperts
from tests.support import ROOT

NANO = ["gpt2-nano", "llama-nano", "bert-nano", "moe-nano"]
CAUSAL = [name for name in NANO if name != "bert-nano"]
PUBLISHED = {
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "llama-1b": 1_235_814_400,
    "llama-3b": 3_212_749_824,
    "llama-8b": 8_030_261_248,
    # BertForMaskedLM less its output bias and its two segment embeddings
    "bert-base": 109_514_298 - 30_522 - 2 * 768,
    "bert-large": 335_174_458 - 30_522 - 2 * 1024,
}
PRESETS = sorted({path.stem for path in (ROOT / "conf" / "model").glob("*.yaml")} - {"hf"})
VOCABULARY = 512  # of every nano preset


def preset(name):
    """The module of a preset and its arguments."""
    config = yaml.safe_load((ROOT / "conf" / "model" / f"{name}.yaml").read_text())
    assert name == config.pop("name")
    module, function = config.pop("_target_").removeprefix("sweeper.").rsplit(".", 1)
    assert "build" == function
    return importlib.import_module(module), config


def build(name, seed=0, **changes):
    module, arguments = preset(name)
    torch.manual_seed(seed)
    return module.build(**arguments | changes)


def pipeline(name):
    module, arguments = preset(name)
    return module.pipeline(**arguments)


def tokens(samples=4, length=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, VOCABULARY, (samples, length + 1), generator=generator)


def gradients(model):
    return [parameter.grad.clone() for parameter in model.parameters()]


def assert_close(ones, others):
    for one, other in zip(ones, others, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


# What a training may rely on in every family


@pytest.mark.parametrize("name", PRESETS)
def test_the_number_of_parameters_follows_from_the_shapes(name):
    module, arguments = preset(name)
    for tied in (True, False) if "tied" in arguments else (None,):
        changes = {} if tied is None else {"tied": tied}
        with torch.device("meta"):
            model = module.build(**arguments | changes)
        assert model.num_parameters == sum(p.numel() for p in model.parameters())
        assert model.num_parameters == module.pipeline(**arguments | changes).num_parameters


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED.items())
def test_the_published_sizes_have_the_published_number_of_parameters(name, parameters):
    assert parameters == pipeline(name).num_parameters


@pytest.mark.parametrize("name", NANO)
def test_a_pipeline_takes_the_arguments_of_the_build(name):
    module, _ = preset(name)
    taken = inspect.signature(module.build).parameters
    assert taken == inspect.signature(module.pipeline).parameters


@pytest.mark.parametrize("name", NANO)
def test_the_loss_of_an_untrained_model_is_that_of_a_guess(name):
    loss = build(name)(tokens())
    assert abs(loss.item() - float(torch.log(torch.tensor(float(VOCABULARY))))) < 0.2


@pytest.mark.parametrize("name", NANO)
def test_a_seed_decides_the_weights_whatever_dtype_they_are_created_in(name):
    single = build(name, seed=3)
    torch.set_default_dtype(torch.bfloat16)
    try:
        half = build(name, seed=3)
    finally:
        torch.set_default_dtype(torch.float32)
    for one, other in zip(single.parameters(), half.parameters(), strict=True):
        assert torch.equal(one.bfloat16(), other)
    different = build(name, seed=4)
    assert not torch.equal(single.embedding[0].weight, different.embedding[0].weight)


@pytest.mark.parametrize("name", NANO)
def test_building_leaves_torch_in_a_state_that_only_the_seed_decides(name):
    build(name, seed=5)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), drawn)


@pytest.mark.parametrize("name", NANO)
def test_the_mean_over_micro_batches_is_the_global_batch(name):
    model, batch = build(name), tokens(samples=8)
    model(batch).backward()
    whole = gradients(model)
    model.zero_grad()
    losses = [model(micro) / 4 for micro in batch.split(2)]
    torch.stack(losses).sum().backward()
    assert_close([model(batch)], [torch.stack(losses).sum()])
    assert_close(whole, gradients(model))


@pytest.mark.parametrize("name", CAUSAL)
def test_a_later_token_changes_no_earlier_prediction(name):
    model, batch = build(name).eval(), tokens(samples=1, length=8)
    seen = []
    model.head[0].register_forward_hook(lambda _m, _i, out: seen.append(out))
    model(batch)
    batch[0, 7] = (batch[0, 7] + 1) % VOCABULARY
    model(batch)
    assert torch.allclose(seen[0][0, :7], seen[1][0, :7], atol=1e-6)
    assert not torch.allclose(seen[0][0, 7], seen[1][0, 7], atol=1e-6)


@pytest.mark.parametrize("name", NANO)
def test_a_tied_output_projection_is_the_token_embedding(name):
    model = build(name)
    tied = [part.tied for part in model.parts()].count("tokens")
    assert tied == (0 if name == "moe-nano" else 2)
    tables = [p for p in model.parameters() if p.shape == (VOCABULARY, 64)]
    assert len(tables) == (2 if tied == 0 else 1)


@pytest.mark.parametrize("name", NANO)
def test_the_forward_and_backward_cost_six_for_each_parameter_and_the_attention(name):
    model = build(name)
    active = model.num_parameters
    if name in ("gpt2-nano", "bert-nano"):
        active -= model.max_positions * 64
    if name == "moe-nano":  # an untied input table, and two experts of four
        active -= VOCABULARY * 64 + model.num_layers * 2 * 3 * 64 * 64
    assert model.flops_per_token(32) == 6 * active + 12 * model.num_layers * 64 * 32


def test_a_width_that_the_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="width=64 is not a multiple of heads=5"):
        build("gpt2-nano", heads=5)
    with pytest.raises(ValueError, match="heads=4 is not a multiple of kv_heads=3"):
        build("llama-nano", kv_heads=3)
    with pytest.raises(ValueError, match="top_k=3"):
        build("moe-nano", top_k=3)


# Activation checkpointing


@pytest.mark.parametrize("name", NANO)
def test_checkpointing_changes_neither_loss_nor_gradients(name):
    model, batch = build(name), tokens()
    plain = model(batch)
    plain.backward()
    expected = gradients(model)
    for every, on_cpu in ((1, False), (2, False), (1, True)):
        model.zero_grad()
        model.checkpoint_every, model.checkpoint_on_cpu = every, on_cpu
        loss = model(batch)
        loss.backward()
        assert torch.equal(plain, loss)
        assert_close(expected, gradients(model))


@pytest.mark.parametrize(("every", "recomputed"), [(0, []), (1, [0, 1, 2, 3]), (3, [0, 3])])
def test_every_nth_block_is_computed_again(every, recomputed):
    model = build("llama-nano")
    model.checkpoint_every = every
    ran = []
    for index, block in enumerate(model.blocks):
        block.register_forward_pre_hook(lambda _m, _i, index=index: ran.append(index))
    model(tokens()).backward()
    assert [0, 1, 2, 3, *reversed(recomputed)] == ran


def test_only_the_inputs_of_checkpointed_blocks_wait_on_the_cpu(monkeypatch):
    model, batch = build("llama-nano"), tokens()
    model.checkpoint_every, model.checkpoint_on_cpu = 2, True
    waiting = []

    def save(pin_memory):
        assert not pin_memory
        return torch.autograd.graph.saved_tensors_hooks(
            lambda t: waiting.append(tuple(t.shape)) or t, lambda t: t
        )

    monkeypatch.setattr(torch.autograd.graph, "save_on_cpu", save)
    model(batch).backward()
    assert 2 == waiting.count((4, 32, 64))
    assert all(0 in shape for shape in waiting if shape != (4, 32, 64))  # torch saves a dummy too


# The chain of parts


@pytest.mark.parametrize("name", NANO)
def test_the_parts_built_alone_in_any_order_are_the_whole_model(name):
    whole, chain, batch = build(name, seed=7), pipeline(name), tokens()
    modules = {}
    for number in reversed(range(len(chain.parts))):
        torch.manual_seed(7 + number)
        modules[number] = chain.parts[number].build()
    modules[len(modules) - 1] = (
        modules[0] if chain.parts[0].tied else modules[len(modules) - 1]
    )  # as a pipeline ties them: to the first one's weights

    built = dict.fromkeys(p for module in modules.values() for p in module.parameters())
    assert sum(p.numel() for p in built) == chain.num_parameters
    own = {id(p) for p in whole.parameters()}
    assert len(own) == len(built)

    x, labels = chain.split(batch)
    for number, part in enumerate(chain.parts):
        x = part.run(modules[number], x)
    chain.loss(x, labels).backward()
    loss = whole(batch)
    loss.backward()
    assert torch.equal(loss, chain.loss(x, labels))
    for number, (group, index) in enumerate(whole._places):
        for one, other in zip(
            getattr(whole, group)[index].parameters(), modules[number].parameters(), strict=True
        ):
            assert torch.equal(one, other)
            assert torch.equal(one.grad, other.grad)


@pytest.mark.parametrize("name", NANO)
def test_one_tensor_goes_from_part_to_part_and_a_part_is_a_block_for_each_layer(name):
    model = build(name)
    assert model.num_layers == len(model.blocks)
    assert model.num_layers == sum(part.is_block for part in model.parts())
    x, _ = model.split(tokens())
    for part in model.parts()[:-1]:
        x = part.run(part.build(), x)
        assert (4, 32, 64) == x.shape


# Parallelism inside a layer


@pytest.mark.parametrize("name", NANO)
def test_the_tensor_parallel_plan_cuts_what_is_in_the_blocks_and_nothing_else(name):
    model = build(name)
    kinds = dict.fromkeys(("qkv", "query", "key", "value", "up", "up_gate"), "column")
    kinds |= dict.fromkeys(("output", "down"), "row")
    for path, module in model.named_modules():
        if getattr(module, "weight", None) is None or module.weight.dim() != 2:
            continue
        matching = [
            spec
            for spec in model.tensor_parallel_plan()["layer_specs"]
            if any(re.match(pattern, f"{path}.weight") for pattern in spec["patterns"])
        ]
        expected = kinds.get(path.split(".")[-1], "skip") if "blocks" in path else "skip"
        assert [expected] == [spec["partition_type"] for spec in matching], path
        assert ([3, -1] if path.endswith("qkv") else None) == matching[0].get("shape")


@pytest.mark.parametrize("name", NANO)
def test_attention_with_a_share_of_the_heads_computes_a_share_of_the_sum(name):
    attention = build(name).blocks[0].attention
    x = torch.randn(2, 8, 64)
    shares = []
    for rank in range(2):
        share = build(name).blocks[0].attention
        for layer in share.children():
            if layer is share.core:
                continue
            cut = layer.weight.data
            if layer is share.output:
                layer.weight.data = cut.chunk(2, dim=1)[rank]
            else:
                sections = 3 if hasattr(share, "qkv") else 1
                kept = cut.unflatten(0, (sections, -1)).chunk(2, dim=1)[rank]
                layer.weight.data = kept.flatten(0, 1)
                if layer.bias is not None:
                    layer.bias.data = layer.bias.data.chunk(2)[0]  # zeros
        shares.append(share(x))
    torch.testing.assert_close(sum(shares), attention(x))


class Gathered(torch.nn.Module):
    """Stands for the exchange between ranks: knows the full length from a run of the whole model."""

    def __init__(self, core, index, count):
        super().__init__()
        self.core, self.index, self.count = core, index, count
        self.full = None

    def forward(self, *parts):
        *slices, batch_dim = parts
        assert 0 == batch_dim
        if self.full is None:
            self.full = slices
            return self.core(*slices)
        for own, full in zip(slices, self.full, strict=True):
            assert_close([own], [full.chunk(self.count, dim=1)[self.index]])
        return self.core(*self.full).chunk(self.count, dim=1)[self.index]


@pytest.mark.parametrize("name", NANO)
def test_the_mean_over_slices_of_the_sequence_is_the_whole(name):
    batch, losses = tokens(length=64), []
    for index in range(4):
        model = build(name)
        for block in model.blocks:
            block.attention.core = Gathered(block.attention.core, index, 4)
        with torch.no_grad():
            whole = model(batch)
            model.sequence_shard = (index, 4)
            losses.append(model(batch))
    torch.testing.assert_close(torch.stack(losses).mean(), whole)
    assert len({round(loss.item(), 6) for loss in losses}) == 4


def test_a_sequence_that_the_ranks_cannot_share_is_refused():
    causal, masked = build("gpt2-nano"), build("bert-nano")
    causal.sequence_shard = masked.sequence_shard = (0, 2)
    causal(tokens(length=12))
    with pytest.raises(ValueError, match="13 positions cannot be shared by 2 ranks"):
        causal(tokens(length=13))
    with pytest.raises(ValueError, match="multiple of 8"):
        masked(tokens(length=24))


# The layers


def test_a_group_of_query_heads_shares_its_key_and_value():
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 16, heads, 8, generator=generator) for heads in (6, 2, 2))
    for causal in (True, False):
        core = AttentionCore(causal=causal)
        repeated = (part.repeat_interleave(3, dim=2) for part in (key, value))
        torch.testing.assert_close(core(query, key, value), core(query, *repeated))


def test_rotary_scores_depend_on_the_distance_alone():
    query, key = torch.randn(2, 1, 1, 1, 16, dtype=torch.float64)

    def score(query_position, key_position):
        turned = rotate(query, first_position=query_position, base=10000.0)
        return (turned * rotate(key, first_position=key_position, base=10000.0)).sum()

    torch.testing.assert_close(score(9, 4), score(105, 100), atol=1e-4, rtol=0)
    assert not torch.allclose(score(9, 4), score(9, 5), atol=1e-4, rtol=0)
    assert torch.equal(query, rotate(query, first_position=0, base=10000.0))


def test_a_slice_is_rotated_as_its_place_in_the_sequence():
    x = torch.randn(1, 12, 2, 8)
    whole = rotate(x, first_position=0, base=500.0)
    assert torch.equal(whole[:, 8:], rotate(x[:, 8:], first_position=8, base=500.0))


def test_rotary_positions_change_what_a_permuted_past_says():
    torch.manual_seed(0)
    attention = GroupedQueryAttention(width=32, heads=4, kv_heads=2, rotary_base=10000.0)
    x = torch.randn(1, 5, 32)
    swapped = x[:, [1, 0, 2, 3, 4]]
    assert not torch.allclose(attention(x)[:, 4], attention(swapped)[:, 4], atol=1e-5)


# BERT's masks


@pytest.mark.parametrize("length", [8, 32, 29, 33])
def test_one_position_of_each_run_of_eight_is_masked(length):
    batch = tokens(samples=64, length=length)
    inputs, labels = split_masked(batch, mask_id=VOCABULARY - 1)
    masked = labels != IGNORED
    for run in masked.split(RUN, dim=1):
        assert torch.equal(torch.ones(64, dtype=torch.long), run.sum(dim=1))
    assert torch.equal(labels[masked], batch[:, :-1][masked])
    assert bool((inputs[masked] == VOCABULARY - 1).all())
    assert torch.equal(inputs[~masked], batch[:, :-1][~masked])


def test_a_mask_depends_on_its_run_and_place_and_falls_everywhere():
    batch = tokens(samples=256)
    _, labels = split_masked(batch, mask_id=511)
    _, alone = split_masked(batch[3:4], mask_id=511)
    assert torch.equal(labels[3:4], alone)
    elsewhere = batch.clone()
    elsewhere[:, 8:] = 1
    assert torch.equal(labels[:, :8], split_masked(elsewhere, mask_id=511)[1][:, :8])
    _, equal_runs = split_masked(torch.full((1, 257), 7), mask_id=511)
    for seen in (labels, equal_runs):
        places = (seen != IGNORED).unflatten(1, (-1, RUN)).sum(dim=(0, 1))
        expected = seen.numel() / RUN / RUN
        assert bool((places > 0).all())
        assert abs(places - expected).max() < max(4.0, 0.3 * expected)


def test_a_masked_token_is_not_seen():
    model = build("bert-nano")
    batch = tokens(samples=1)
    inputs, labels = model.split(batch)
    hidden = batch.clone()
    hidden[:, :-1] = torch.where(labels != IGNORED, 3, hidden[:, :-1])
    assert torch.equal(inputs, torch.where(labels != IGNORED, 511, hidden[:, :-1]))


# Mixtures of experts


@pytest.mark.parametrize("top_k", [1, 2])
def test_a_mixture_is_the_weighted_sum_of_the_chosen_experts(top_k):
    torch.manual_seed(0)
    mixture = MixtureOfExperts(width=16, hidden_width=8, num_experts=4, top_k=top_k)
    torch.nn.init.normal_(mixture.gate.weight)
    x = torch.randn(3, 5, 16, requires_grad=True)

    probabilities = mixture.gate(x).softmax(dim=-1)
    kept = probabilities >= probabilities.topk(top_k, dim=-1).values[..., -1:]
    weights = probabilities * kept
    if top_k == 2:
        weights = weights / weights.sum(dim=-1, keepdim=True)
    every = torch.stack([expert(x) for expert in mixture.experts], dim=-1)
    dense = (every * weights.unsqueeze(2)).sum(dim=-1)
    assert int(kept.sum()) == 15 * top_k

    torch.testing.assert_close(mixture(x), dense)
    wanted = torch.autograd.grad(dense.square().sum(), [x, *mixture.parameters()])
    given = torch.autograd.grad(mixture(x).square().sum(), [x, *mixture.parameters()])
    torch.testing.assert_close(given, wanted)


def test_an_expert_that_no_token_chose_has_a_gradient_of_zero():
    torch.manual_seed(0)
    mixture = MixtureOfExperts(width=16, hidden_width=8, num_experts=4, top_k=1)
    mixture(torch.ones(1, 5, 16)).sum().backward()  # all tokens are alike
    unused = [e for e in mixture.experts if not bool(e.down.weight.grad.any())]
    assert 3 == len(unused)


def test_routing_is_in_single_precision_under_autocast_and_in_16_bits():
    torch.manual_seed(0)
    mixture = MixtureOfExperts(width=16, hidden_width=8, num_experts=4, top_k=2)
    x = torch.randn(1, 5, 16)
    alone = mixture.gate(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(alone, mixture.gate(x))
    half = mixture.bfloat16()
    assert torch.float32 == half.gate(x.bfloat16()).dtype
    assert torch.bfloat16 == half(x.bfloat16()).dtype
