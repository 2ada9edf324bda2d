"""One step of a model of the user's own: what is right, and the line for what is wrong."""

import pytest

from sweeper.worker.dry_run import dry_run

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


def tried(target, arguments, batch, loss):
    names = [n and n.replace("f.", "tests.unit.factories.") for n in (target, batch, loss)]
    return dry_run(names[0], arguments, names[1], names[2], length=8)


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
