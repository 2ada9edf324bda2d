"""What stands in for DeepSpeed's and the frameworks' functions while a script runs, with fakes behind it."""

import pytest

pytest.importorskip("deepspeed")

import importlib.util
import inspect
import json
import sys
import types
from pathlib import Path
from types import SimpleNamespace

import deepspeed
from deepspeed.runtime.config import DeepSpeedConfig

from sweeper.core.plan import plan
from sweeper.core.script import ScriptSpec
from sweeper.worker.script import deepspeed as deepspeed_patch
from sweeper.worker.script.accelerate import patch_accelerate
from sweeper.worker.script.deepspeed import patch_deepspeed
from sweeper.worker.script.lightning import patch_lightning
from sweeper.worker.script.shown import Shown
from sweeper.worker.script.substitution import Substitution, finite
from sweeper.worker.script.transformers import patch_transformers
from sweeper.worker.script.when_imported import when_imported
from tests.support import MACHINE, nano

OWN = {
    "train_micro_batch_size_per_gpu": 1,
    "gradient_accumulation_steps": 8,
    "zero_optimization": {"stage": 1},
}


def substitution(*, as_it_is=False, **changes):
    from dataclasses import replace

    spec = plan(nano(**changes), MACHINE).ready
    script = ScriptSpec(path="train.py", arguments="", folder=".", as_it_is=as_it_is)
    return Substitution(replace(spec, script=script))


class FirstEngine:
    """Of the first engine, what it is told."""

    def __init__(self):
        self.configs, self.handed = [], []

    def is_tuned(self, client_optimizer, config):
        return not self.configs

    def before(self, model, config):
        self.handed.append(config)
        return config

    def made(self, engine, own, client_optimizer):
        self.configs.append(own)

    def failed(self, error, refused):
        raise AssertionError(error)


@pytest.fixture
def given(monkeypatch):
    """The configurations that reach DeepSpeed, after the patch."""
    seen = []

    def initialize(args=None, model=None, optimizer=None, config=None, config_params=None):
        seen.append((args, config, config_params))
        return SimpleNamespace(), optimizer, None, None

    class DeepSpeedEngine:
        def save_checkpoint(self, save_dir, exclude_frozen_parameters=False):
            raise AssertionError("saved")

    monkeypatch.setattr(deepspeed, "initialize", initialize)
    monkeypatch.setattr(deepspeed, "DeepSpeedEngine", DeepSpeedEngine)
    monkeypatch.setattr(deepspeed.zero.Init, "__init__", deepspeed.zero.Init.__init__)
    engines = FirstEngine()
    patch_deepspeed(substitution(**{"zero.stage": 2, "batch.micro_size": 4}), engines)
    return seen, engines.configs, engines.handed


def check(seen, taken, handed):
    _, config, config_params = seen[0]
    assert [config] == handed, "what is kept is what DeepSpeed gets"
    assert (2, 4, 2) == (
        config["zero_optimization"]["stage"],
        config["train_micro_batch_size_per_gpu"],
        config["gradient_accumulation_steps"],
    )
    assert config_params is None
    assert [config] == taken


def test_a_configuration_is_substituted_that_is_given_as_a_dictionary(given):
    mine = dict(OWN)
    deepspeed.initialize(config=mine)
    check(*given)
    assert mine == OWN, "the script's own dictionary stays as it is"


def test_a_configuration_is_substituted_that_is_given_as_config_params(given):
    deepspeed.initialize(None, None, config_params=OWN)
    check(*given)


def test_a_configuration_is_substituted_that_is_given_as_a_path(given, tmp_path):
    path = tmp_path / "ds.json"
    path.write_text(json.dumps(OWN))
    deepspeed.initialize(config=str(path))
    check(*given)


def test_a_configuration_is_substituted_that_stands_in_args(given, tmp_path):
    path = tmp_path / "ds.json"
    path.write_text(json.dumps(OWN))
    args = SimpleNamespace(deepspeed_config=str(path), lr=1.0)
    deepspeed.initialize(args=args)
    check(*given)
    assert str(path) == args.deepspeed_config, "the script's own arguments stay as they are"
    assert given[0][0][0].deepspeed_config is None


def test_a_second_engine_keeps_its_configuration_and_logs_nowhere(given):
    deepspeed.initialize(config=OWN)
    deepspeed.initialize(config={**OWN, "wandb": {"enabled": True}})
    assert OWN == given[0][1][1]


def test_without_a_configuration_deepspeed_is_asked_all_the_same(given):
    deepspeed.initialize(model="a model")
    assert (None, None, None) == given[0][0]


def test_an_engine_saves_nothing_in_a_trial(given):
    engine = deepspeed.DeepSpeedEngine()
    assert engine.save_checkpoint("out")
    assert "exclude_frozen_parameters" in inspect.signature(engine.save_checkpoint).parameters


@pytest.mark.parametrize("stage", [2, 3])
def test_parameters_are_partitioned_at_the_candidates_stage_alone(monkeypatch, stage):
    seen = {}

    def init(self, module=None, config_dict_or_path=None, enabled=True):
        seen.update(config=config_dict_or_path, enabled=enabled)

    monkeypatch.setattr(deepspeed.zero.Init, "__init__", init)
    deepspeed_patch._patch_zero_init(substitution(**{"zero.stage": stage}))
    deepspeed.zero.Init(config_dict_or_path={**OWN, "zero_optimization": {"stage": 3}})
    assert (stage, stage == 3) == (seen["config"]["zero_optimization"]["stage"], seen["enabled"])


def fake_module(monkeypatch, name, **content):
    module = types.ModuleType(name)
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name, module)
    return module


def test_accelerates_and_transformers_configuration_is_the_candidates(monkeypatch):
    class HfDeepSpeedConfig:
        def __init__(self, config):
            self.config = dict(config)

        def set_stage_and_offload(self):
            self.stage = self.config["zero_optimization"]["stage"]

        def get_value(self, key, default=None):
            node = self.config
            for name in key.split("."):
                node = node.get(name, {})
            return node or default

    class DeepSpeedPlugin:
        def __init__(self, config):
            self.config, self.gradient_accumulation_steps, self.zero_stage = config, 8, 1
            self.hf_ds_config = config
            self.__post_init__()

        def __post_init__(self):
            self.hf_ds_config = HfDeepSpeedConfig(self.config)

        def set_mixed_precision(self, mixed_precision):
            self.mixed_precision = mixed_precision

    class Accelerator:
        def save_state(self, output_dir=None):
            raise AssertionError("saved")

    fake_module(monkeypatch, "accelerate.accelerator", Accelerator=Accelerator)
    fake_module(monkeypatch, "accelerate.utils.deepspeed", HfDeepSpeedConfig=HfDeepSpeedConfig)
    fake_module(monkeypatch, "accelerate.utils.dataclasses", DeepSpeedPlugin=DeepSpeedPlugin)
    patch_accelerate(substitution(**{"zero.stage": 3, "precision.mode": "bf16"}))
    plugin = DeepSpeedPlugin({**OWN, "zero_optimization": {"stage": 1}})
    plugin.set_mixed_precision("fp16")
    assert (3, 3, "none", "bf16") == (
        plugin.hf_ds_config.stage,
        plugin.zero_stage,
        plugin.offload_optimizer_device,
        plugin.mixed_precision,
    )
    Accelerator().save_state("out")


def training_arguments(monkeypatch, output="trial/script_output"):
    class TrainingArguments:
        def __init__(self, deepspeed, output_dir=None):
            self.deepspeed, self.output_dir = deepspeed, output_dir
            self.save_strategy, self.report_to = "steps", ["wandb"]
            self.load_best_model_at_end = self.push_to_hub = True
            self.per_device_train_batch_size, self.gradient_accumulation_steps = 1, 8
            self.bf16, self.fp16 = False, True
            self.__post_init__()

        def __post_init__(self):
            assert self.load_best_model_at_end, "checked with what the script says"
            self.seen = (
                self.per_device_train_batch_size,
                self.gradient_accumulation_steps,
                self.bf16,
                self.fp16,
            )

    class HfArgumentParser:
        def parse_args_into_dataclasses(self):
            return TrainingArguments("ds_config.json")

    class Trainer:
        def train(self, resume_from_checkpoint=None, trial=None):
            return resume_from_checkpoint, trial

        def save_model(self, output_dir=None):
            raise AssertionError("saved")

    fake_module(monkeypatch, "transformers.trainer", Trainer=Trainer)
    fake_module(monkeypatch, "transformers.hf_argparser", HfArgumentParser=HfArgumentParser)
    fake_module(monkeypatch, "transformers.training_args", TrainingArguments=TrainingArguments)
    made = substitution(**{"batch.micro_size": 4, "precision.mode": "bf16"})
    patch_transformers(made, Path(output))
    return TrainingArguments


def test_training_arguments_agree_with_the_candidate(monkeypatch):
    assert (4, 2, True, False) == training_arguments(monkeypatch)("ds_config.json").seen


def test_training_arguments_without_deepspeed_stay_as_they_are(monkeypatch):
    monkeypatch.delenv("ACCELERATE_USE_DEEPSPEED", raising=False)
    assert (1, 8, False, True) == training_arguments(monkeypatch)(None).seen


@pytest.mark.parametrize("is_there", [True, False])
def test_a_trainers_output_folder_is_one_of_the_trials_own(monkeypatch, tmp_path, is_there):
    own, ours = tmp_path / "out", tmp_path / "ours"
    if is_there:
        (own / "checkpoint-2").mkdir(parents=True)
    arguments = training_arguments(monkeypatch, ours)("ds_config.json", str(own))
    assert str(ours) == arguments.output_dir
    assert is_there == ours.exists()
    assert not is_there or [] == [*ours.iterdir()]


def test_a_trainer_saves_and_reports_nothing_and_trains_from_the_start(monkeypatch):
    arguments = training_arguments(monkeypatch)("ds_config.json")
    assert ("no", False, False, []) == (
        arguments.save_strategy,
        arguments.load_best_model_at_end,
        arguments.push_to_hub,
        arguments.report_to,
    )
    trainer = sys.modules["transformers.trainer"].Trainer()
    assert (None, "a trial") == trainer.train(resume_from_checkpoint=True, trial="a trial")
    assert (None, None) == trainer.train("out/checkpoint-2")
    trainer.save_model()


def test_lightnings_own_strategy_takes_the_candidates_stage_and_no_accumulation():
    module = pytest.importorskip("lightning.pytorch.strategies.deepspeed")
    before = module.DeepSpeedStrategy.__init__, module.DeepSpeedStrategy.save_checkpoint
    try:
        made = substitution(**{"zero.stage": 3, "offload.optimizer": "cpu"})
        patch_lightning(made)
        strategy = module.DeepSpeedStrategy(stage=2, logging_batch_size_per_gpu=1)
    finally:
        module.DeepSpeedStrategy.__init__, module.DeepSpeedStrategy.save_checkpoint = before
    assert 3 == strategy.config["zero_optimization"]["stage"]
    assert "cpu" == strategy.config["zero_optimization"]["offload_optimizer"]["device"]
    assert "gradient_accumulation_steps" not in strategy.config
    assert ("lightning", False) == (
        made.shown.facts["framework"],
        made.shown.facts["config_in_code"],
    )
    config = made(as_lightning_makes_it(strategy, accumulate_grad_batches=2))
    assert (8, 1, 8) == (
        config["train_batch_size"],
        config["train_micro_batch_size_per_gpu"],
        config["gradient_accumulation_steps"],
    ), "deepspeed.initialize gets the candidate's batch, whatever Lightning's Trainer says"
    assert 3 == DeepSpeedConfig(config).zero_optimization_stage


def as_lightning_makes_it(strategy, **arguments):
    """As far as its strategy goes where there is no CUDA."""
    lightning = pytest.importorskip("lightning")
    trainer = lightning.Trainer(strategy=strategy, accelerator="cpu", logger=False, **arguments)
    module = lightning.LightningModule()
    module.trainer = trainer
    strategy._lightning_module = module
    strategy._init_config_if_needed()
    return strategy.config


def shown_by(tmp_path, *calls):
    """What is seen of a script that shows these configurations, outermost first."""
    (tmp_path / "ds.json").write_text("{}")
    shown = Shown()
    for framework, given in calls:
        shown.see(framework, given)
    return shown.facts


def test_the_outermost_place_of_a_configuration_is_where_it_is_changed(tmp_path):
    path = str(tmp_path / "ds.json")
    facts = shown_by(tmp_path, ("transformers", path), ("accelerate", OWN), (None, OWN))
    assert ("transformers", path, False) == (
        facts["framework"],
        facts["config_file"],
        facts["config_in_code"],
    )


@pytest.mark.parametrize(("given", "in_code"), [(OWN, True), ("eyJhIjogMX0=", True), (None, False)])
def test_a_configuration_that_is_no_file_is_in_the_code_or_the_environment(
    tmp_path, given, in_code
):
    facts = shown_by(tmp_path, ("accelerate", given))
    assert (None, in_code) == (facts["config_file"], facts["config_in_code"])


def test_as_it_is_nothing_is_substituted_but_what_was_given_is_kept():
    own = {**OWN, "steps_per_print": float("inf")}
    made = substitution(as_it_is=True, **{"zero.stage": 3})
    assert own == made(own)
    assert OWN == finite(own), "JSON has no infinity"


def test_a_module_is_told_of_when_it_is_imported_and_not_before(tmp_path, monkeypatch):
    (tmp_path / "imported_later.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    seen = []
    when_imported("imported_later", lambda module: seen.append(module.value))
    assert importlib.util.find_spec("imported_later"), "who only asks whether it is there"
    assert seen == []
    import imported_later

    assert [1] == seen
    assert imported_later.__spec__.loader is imported_later.__loader__
    sys.modules.pop("imported_later")
