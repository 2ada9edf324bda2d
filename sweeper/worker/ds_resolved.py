"""What DeepSpeed makes of a configuration: its own parsers asked, section by section."""

from __future__ import annotations

import os
from collections.abc import Mapping
from numbers import Real
from types import SimpleNamespace
from typing import Any

import torch
from deepspeed.accelerator import get_accelerator
from deepspeed.runtime import config as ds
from deepspeed.runtime.precision_config import get_bfloat16_config, get_float16_config
from deepspeed.runtime.swap_tensor.aio_config import get_aio_config
from deepspeed.runtime.zero.config import get_zero_config

from sweeper.core.resolved_config import KEYS_OF_SETTINGS, Batch, Resolved

_BATCH = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
_DTYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


def resolve(config: Mapping[str, Any]) -> Resolved:
    """Of this rank's world. Raises what DeepSpeed raises for a configuration that it refuses.

    What is "auto" stands for whatever a framework will make of it: where a setting would say it, None.
    """
    plain = dict(config)
    zero = get_zero_config(plain)
    optimizer, param = zero.offload_optimizer, zero.offload_param
    bf16, fp16 = get_bfloat16_config(plain), get_float16_config(plain)
    sections = {
        "zero_optimization": zero,
        "bf16": bf16,
        "fp16": fp16,
        "aio": get_aio_config(plain),
        "data_types": _known(plain.get("data_types")),
    }
    paths = [section.nvme_path for section in (optimizer, param) if section is not None]
    communication = ds.get_communication_data_type(plain)
    return Resolved(
        stage=int(zero.stage),
        offload_optimizer=_device(optimizer),
        offload_param=_device(param),
        nvme_path=next((str(path) for path in paths if path), None),
        precision=_precision(plain, bf16.enabled, fp16.enabled),
        communication_dtype=_DTYPES.get(communication),
        batch=batch_of(plain),
        values={name: _value(sections, path) for name, path in KEYS_OF_SETTINGS.items()},
        given=tuple(name for name, path in KEYS_OF_SETTINGS.items() if _is_given(plain, path)),
    )


def data_parallel_ranks(config: Mapping[str, Any]) -> int:
    """The ranks that a configuration's batch is spread over."""
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    shared = config.get("sequence_parallel_size")
    return ranks // shared if isinstance(shared, int) and shared > 0 else ranks


def batch_of(config: Mapping[str, Any]) -> Batch | None:
    """The batch with what is left out inferred as DeepSpeed does; None where that is not to be had."""
    given = {name: _whole(config.get(name)) for name in _BATCH}
    if not all(value is None or isinstance(value, int) for value in given.values()):
        return None
    triple = SimpleNamespace(**given, world_size=data_parallel_ranks(config))
    try:
        ds.DeepSpeedConfig._set_batch_related_parameters(triple)
    except (AssertionError, ZeroDivisionError):
        return None
    return Batch(
        train=triple.train_batch_size,
        micro=triple.train_micro_batch_size_per_gpu,
        accumulation=triple.gradient_accumulation_steps,
    )


def _whole(value: Any) -> Any:
    """4 of 4.0, as of a script that divides, and of NumPy's 4."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    return int(value) if is_number and value == value // 1 else value


def _precision(config: dict[str, Any], bf16: bool, fp16: bool) -> str | None:
    """The mode as the settings name it; DeepSpeed takes any text in ``torch_autocast.enabled`` for yes."""
    for name in ("bf16", "bfloat16", "fp16", "torch_autocast"):
        if _known_section(config, name).get("enabled") == "auto":
            return None
    if bf16 and fp16:
        return None  # DeepSpeed takes one
    if bf16 or fp16:
        return "bf16" if bf16 else "fp16"
    if ds.get_torch_autocast_enabled(config):
        dtype = ds.get_torch_autocast_dtype(config)
        if dtype is None:
            dtype = torch.get_autocast_dtype(get_accelerator().device_name())
        return "autocast_bf16" if dtype is torch.bfloat16 else None
    return "fp32"


def _known_section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name)
    return section if isinstance(section, Mapping) else {}


def _known(section: Any) -> dict[str, Any]:
    return dict(section) if isinstance(section, Mapping) else {}


def _device(section: Any) -> str:
    device = None if section is None else section.device
    return str(getattr(device, "value", device) or "none")


def _value(sections: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """With DeepSpeed's default where it is left out."""
    place: Any = sections[path[0]]
    for name in path[1:]:
        if isinstance(place, Mapping):
            place = place.get(name)
        elif place is not None:
            place = getattr(place, _field(type(place), name))
        elif name == "ratio":
            return 1.0
        else:
            return False  # of an offload that there is not
    if path[0] == "data_types" and place is not None:
        return _DTYPES.get(ds.DtypeEnum(place).value)
    return int(place) if isinstance(place, int) and not isinstance(place, bool) else place


def _is_given(config: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    place: Any = config
    for name in path[:-1]:
        place = place.get(name) if isinstance(place, Mapping) else None
        if place is None and name == "bf16":
            place = config.get("bfloat16")
    if not isinstance(place, Mapping):
        return False
    names = (path[-1], path[-1].removeprefix("stage3_"))  # DeepSpeed takes either
    return any(place.get(name) not in (None, "auto") for name in names)


def _field(model: Any, alias: str) -> str:
    """The attribute behind a key: ``prefetch_bucket_size`` of ``stage3_prefetch_bucket_size``."""
    if alias in model.model_fields:
        return alias
    return next(name for name, field in model.model_fields.items() if field.alias == alias)
