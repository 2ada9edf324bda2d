"""Composing without Hydra's full price gives what Hydra gives."""

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sweeper.errors import EnvironmentUnfit
from sweeper.hydra_edge import schema
from sweeper.hydra_edge.compose import Composer, settings_of
from sweeper.hydra_edge.hydra_versions import VERSION_BASE, register_resolver
from sweeper.hydra_edge.messages import usage_error
from sweeper.places import conf_dir

TYPED = ["+model=gpt2-nano", "hydra/sweeper=optuna"]


@pytest.fixture
def hydra():
    schema.register()
    with initialize_config_dir(str(conf_dir()), **VERSION_BASE):
        yield GlobalHydra.instance().hydra


@pytest.fixture
def master(hydra):
    return hydra.compose_config("config", TYPED, run_mode=RunMode.MULTIRUN, from_shell=False)


@pytest.fixture
def composer(hydra, master):
    return Composer(hydra.config_loader, master, TYPED[:1])


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["zero=stage1"],
        ["batch.micro_size=2"],
        ["zero=stage3", "batch.micro_size=4", "offload=optimizer"],
        ["batch.micro_size=2", "zero.stage=1", "zero=stage2"],
        ["optimizer.betas=[0.8,0.99]", "model.layers=3"],
        ["zero=stage2", "zero.stage=0"],
        ["hardware=cuda", "precision=fp32", "workload.seed=3"],
        ["precision=bf16", "optimizer=lion", "checkpointing=full", "parallel=tensor2"],
        ["ds.steps_per_print=7", "zero=stage1"],
    ],
)
def test_what_is_composed_is_what_hydra_composes(hydra, master, composer, overrides):
    expected = settings_of(hydra.config_loader.load_sweep_config(master, [*TYPED[:1], *overrides]))
    assert expected == composer.settings(overrides)
    assert expected == composer.settings(overrides)  # and a second time, from what was kept
    assert expected == composer.quick_settings(tuple(overrides))


@pytest.mark.parametrize("values", [(1, 2, 3), ("5e-4", "1e-3", "0.5"), ("null", "3", "null")])
def test_the_third_value_of_a_setting_is_what_hydra_takes_it_for(composer, values):
    name = "optimizer.lr" if "0.5" in values else "zero.reduce_bucket_size"
    for value in values:
        overrides = (f"{name}={value}", "zero=stage2")
        assert composer.settings(overrides) == composer.quick_settings(overrides)


def test_values_set_for_one_candidate_are_not_seen_by_the_next(composer):
    assert 4 == composer.settings(["batch.micro_size=4"]).batch.micro_size
    assert 1 == composer.settings([]).batch.micro_size


@pytest.mark.parametrize("overrides", [["batch.mikro=2"], ["optimizer.lr.x=2"]])
def test_a_value_for_nothing_is_hydras_error(composer, overrides):
    with pytest.raises((HydraException, OmegaConfBaseException)):
        composer.config(overrides)


def test_what_a_resolver_of_ours_says_is_not_hidden_by_hydra():
    def hangs():
        raise EnvironmentUnfit("the driver hangs; restart the machine")

    register_resolver("hangs", hangs, use_cache=False)
    config = OmegaConf.create({"accelerator": "${hangs:}"})
    try:
        with pytest.raises(OmegaConfBaseException) as error:
            config.accelerator  # noqa: B018
        assert "the driver hangs; restart the machine" == str(usage_error(error.value, ()))
        assert 4 == usage_error(error.value, ()).exit_code
    finally:
        OmegaConf.clear_resolver("hangs")
