"""The names that we believe DeepSpeed to know are in the DeepSpeed that is installed."""

import importlib.util
from pathlib import Path

import pytest

from sweeper.core.ds_config import TOP_LEVEL_KEYS

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
