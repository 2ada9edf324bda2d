"""The names that we believe DeepSpeed to know are in the DeepSpeed that is installed."""

import importlib.util
from pathlib import Path

import pytest

from sweeper.core.ds_config import TOP_LEVEL_KEYS
from sweeper.core.ds_config_keys import KEYS_OF_SECTIONS, STRICT_KEYS
from sweeper.core.resolved_config import KEYS_OF_SETTINGS

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def source():
    folder = Path(importlib.util.find_spec("deepspeed").origin).parent
    parts = [*(folder / "runtime").rglob("*.py"), *(folder / "monitor").rglob("*.py")]
    parts += [*folder.glob("*/constants.py"), *folder.glob("*/config.py"), folder / "__init__.py"]
    return "".join(path.read_text() for path in parts)


@pytest.mark.parametrize("key", sorted(TOP_LEVEL_KEYS))
def test_a_top_level_key_stands_in_deepspeeds_source(source, key):
    assert f'"{key}"' in source or f"'{key}'" in source or f"{key}:" in source


@pytest.mark.parametrize(
    "key", sorted({key for known in KEYS_OF_SECTIONS.values() for key in known})
)
def test_a_key_of_a_section_stands_in_deepspeeds_source(source, key):
    assert f'"{key}"' in source or f"'{key}'" in source


def test_every_detail_of_a_configuration_that_a_setting_names_is_one_that_deepspeed_reads():
    from sweeper.worker.ds_resolved import resolve

    resolved = resolve({"zero_optimization": {"stage": 3, "offload_optimizer": {"device": "cpu"}}})
    assert set(KEYS_OF_SETTINGS) == set(resolved.values)
    known = resolved.values.items()
    left = {name for name, value in known if value is None}
    assert left <= {"precision.grad_accum_dtype"}


def test_the_sections_of_which_unknown_keys_are_refused_have_the_keys_that_deepspeed_takes():
    from deepspeed.runtime.precision_config import DeepSpeedBF16Config, DeepSpeedFP16Config
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
    from deepspeed.runtime.zero.offload_config import (
        DeepSpeedZeroOffloadOptimizerConfig,
        DeepSpeedZeroOffloadParamConfig,
    )

    classes = {
        "zero_optimization": DeepSpeedZeroConfig,
        "zero_optimization.offload_optimizer": DeepSpeedZeroOffloadOptimizerConfig,
        "zero_optimization.offload_param": DeepSpeedZeroOffloadParamConfig,
        "fp16": DeepSpeedFP16Config,
        "bf16": DeepSpeedBF16Config,
    }
    assert set(classes) == set(STRICT_KEYS)
    for section, cls in classes.items():
        assert cls.model_config["extra"] == "forbid"
        fields = cls.model_fields.items()
        names = {name for name, _ in fields} | {f.alias for _, f in fields if f.alias}
        assert names == STRICT_KEYS[section], section
