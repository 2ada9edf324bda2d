import pytest
import torch
import yaml

from models.gpt2 import build
from tests.support import ROOT

PUBLISHED = {
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
}


def shape(name):
    config = yaml.safe_load((ROOT / "conf" / "model" / f"{name}.yaml").read_text())
    return {k: v for k, v in config.items() if k not in ("name", "_target_")}


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED.items())
def test_the_published_sizes_have_the_published_number_of_parameters(name, parameters):
    with torch.device("meta"):
        model = build(**shape(name))
    assert parameters == sum(p.numel() for p in model.parameters())
    assert (50257, 1024) == (model.vocab_size, model.max_positions)


def test_the_output_weights_are_the_token_embedding():
    model = build(**shape("gpt2-nano"))
    names = [name for name, _ in model.named_parameters()]
    assert 1 == sum("token_embedding" in name for name in names)
    assert not any("head" in name and "attention" not in name for name in names)


def test_a_seed_decides_the_weights_whatever_dtype_they_are_created_in():
    torch.manual_seed(3)
    single = build(**shape("gpt2-nano"))
    torch.manual_seed(3)
    torch.set_default_dtype(torch.bfloat16)
    try:
        half = build(**shape("gpt2-nano"))
    finally:
        torch.set_default_dtype(torch.float32)
    for one, other in zip(single.parameters(), half.parameters(), strict=True):
        assert torch.equal(one.bfloat16(), other)


def test_the_loss_of_an_untrained_model_is_that_of_a_guess():
    torch.manual_seed(0)
    model = build(**shape("gpt2-nano"))
    loss = model(torch.randint(0, 512, (4, 33)))
    assert abs(loss.item() - float(torch.log(torch.tensor(512.0)))) < 0.2


def test_checkpointing_changes_neither_loss_nor_gradients():
    gradients = []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        model = build(**shape("gpt2-nano"))
        model.checkpoint_blocks = checkpointed
        model(torch.arange(66).view(2, 33)).backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        assert torch.allclose(plain, recomputed, atol=1e-6)


def test_a_later_token_changes_no_earlier_prediction():
    torch.manual_seed(0)
    model = build(**shape("gpt2-nano")).eval()
    tokens = torch.randint(0, 512, (1, 9))
    seen = {}
    model.final_norm.register_forward_hook(lambda _m, _i, out: seen.setdefault(len(seen), out))
    model(tokens)
    changed = tokens.clone()
    changed[0, 7] = (changed[0, 7] + 1) % 512
    model(changed)
    assert torch.allclose(seen[0][0, :7], seen[1][0, :7], atol=1e-6)
    assert not torch.allclose(seen[0][0, 7], seen[1][0, 7], atol=1e-6)
