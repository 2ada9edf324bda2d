"""A knob is part of a point only where it does something."""

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from sweeper.core.plan import plan
from sweeper.core.space import Choice, FloatRange, IntRange, SearchSpace, as_overrides
from sweeper.hydra_edge import schema
from sweeper.hydra_edge.baseline import composed
from sweeper.hydra_edge.compose import Composer
from sweeper.hydra_edge.conditions import Conditions, options_first
from sweeper.hydra_edge.expressions import read
from sweeper.hydra_edge.hydra_versions import VERSION_BASE
from sweeper.hydra_edge.options import options
from sweeper.places import conf_dir
from sweeper.search.optuna_sampler import OptunaSampler
from sweeper.search.optuna_study import open_study
from tests.support import MACHINE

FIXED = ["+model=gpt2-nano", "hardware.ranks=2", "workload.global_batch_size=16"]


@pytest.fixture
def hydra():
    schema.register()
    with initialize_config_dir(str(conf_dir()), **VERSION_BASE):
        yield GlobalHydra.instance().hydra


def space_and_composer(hydra, name):
    typed = [*FIXED, "hydra/sweeper=optuna", f"space={name}"]
    master = hydra.compose_config("config", typed, run_mode=RunMode.MULTIRUN, from_shell=False)
    space = read([], dict(master.hydra.sweeper.params)).space
    return options_first(space), Composer(hydra.config_loader, master, [*FIXED, f"space={name}"])


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("optimizer.lr=choice(0.1,0.2)", ["optimizer.lr"]),
        ("optimizer=choice(adamw,lion)", ["optimizer.type"]),
        ("optimizer=choice(adamw,adamw_foreach)", []),
        ("batch.micro_size=choice(1,2)", []),
    ],
)
def test_what_makes_candidates_train_something_else_is_known(hydra, expression, found):
    _, composer = space_and_composer(hydra, "none")
    other = composed(composer, read([expression], {}).space).other_training
    assert set(found) <= set(other)
    assert bool(found) == bool(other)


@pytest.mark.parametrize("name", options("space"))
def test_every_value_of_every_space_composes(hydra, name):
    space, composer = space_and_composer(hydra, name)
    for parameter, domain in space.parameters.items():
        for value in domain.points():
            composer.settings([f"{parameter}={value}"])


@pytest.mark.timeout(300)
def test_what_is_sampled_acts_and_what_acts_is_sampled(hydra, tmp_path):
    space, composer = space_and_composer(hydra, "full")
    study = open_study(
        space=space,
        sampler={"_target_": "optuna.samplers.RandomSampler"},
        storage=None,
        journal=tmp_path / "journal",
        study_name="full",
        directions=["maximize"],
        seed=3,
    )
    conditions = Conditions(composer, space)
    sampler = OptunaSampler(space, study, seed=3, acts=conditions.acts)
    seen = set()
    for _ in range(60):
        point = sampler.ask().point
        seen |= set(point)
        planned = plan(composer.settings(as_overrides(point)), MACHINE)
        assert not [note for note in planned.notes if note.partition("=")[0] in point]
        for name in set(space.parameters) - set(point):
            assert not conditions.acts(name, point)
    # On a CPU these have nothing to act on.
    never = {"zero.overlap_comm", "offload.pin_memory"}
    assert set(space.parameters) - never == seen


def test_where_a_range_is_does_not_change_what_else_acts(hydra):
    space, composer = space_and_composer(hydra, "none")
    space = SearchSpace(
        parameters={
            "precision": Choice(values=("fp16",)),
            "precision.fp16_loss_scale": FloatRange(low=1.0, high=65536.0),
            "precision.fp16_initial_scale_power": IntRange(low=4, high=16),
        }
    )
    conditions = Conditions(composer, space)
    for scale in ("1.0", "128.5", "65536.0"):
        point = {"precision": "fp16", "precision.fp16_loss_scale": scale}
        assert conditions.acts("precision.fp16_loss_scale", {"precision": "fp16"})
        assert not conditions.acts("precision.fp16_initial_scale_power", point)
