"""Puts the candidate's configuration in the place of a script's own, wherever the script shows it."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import torch
from deepspeed.ops.adam import DeepSpeedCPUAdam
from deepspeed.ops.lion import DeepSpeedCPULion
from deepspeed.runtime.zero.utils import ZERO_SUPPORTED_OPTIMIZERS

from sweeper.core.one_line import one_line
from sweeper.core.script import placeholders
from sweeper.core.script_config import substituted, with_typed, without_refused
from sweeper.core.spec import TrialSpec
from sweeper.worker.ds_resolved import batch_of, data_parallel_ranks, resolve
from sweeper.worker.script.shown import Shown

_MICRO, _ACCUMULATION = "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"
# What DeepSpeed makes of a name in the configuration, where it is no class of torch.optim.
_SUPPORTED_NAMES = ("adam", "adamw", "adagrad", "lion", "muon")


class Substitution:
    """Where the script runs ``as_it_is`` its own stays but for what was typed.

    ``shown`` is where the script has it from.
    """

    def __init__(self, spec: TrialSpec) -> None:
        assert spec.script is not None
        self.acts = not spec.script.as_it_is
        self.spec, self._script = spec, spec.script
        self.shown = Shown()

    @property
    def changes(self) -> bool:
        """Whether anything is substituted."""
        return self.acts or bool(self._script.typed)

    def takes(self, group: str) -> bool:
        """Whether the settings of a group come from the trial, not from the script."""
        typed = {name.partition(".")[0] for name in self._script.typed}
        return self.acts or group in typed

    def __call__(self, own: Mapping[str, Any], *, client: Any = None) -> dict[str, Any]:
        """``client``: the optimizer that the script makes itself."""
        if self.acts:
            config = substituted(own, self.spec.ds_config, resolve, left_alone=self._script.ignored)
        elif self._script.typed:
            config = with_typed(
                own,
                self.spec.ds_config,
                resolve,
                self._script.typed,
                ranks=data_parallel_ranks(own),
                own_accumulation="gradient_accumulation" in placeholders(self._script.arguments),
            )
        else:
            return copy.deepcopy(dict(own))
        return _let_through(config, own, client)

    def batch_for(self, micro_size: int, accumulation_steps: int) -> tuple[int, int]:
        """The same of a framework's own arguments."""
        own = {_MICRO: micro_size, _ACCUMULATION: accumulation_steps}
        batch = batch_of(self(own))
        assert batch is not None
        return batch.micro, batch.accumulation


def _let_through(config: dict[str, Any], own: Mapping[str, Any], client: Any) -> dict[str, Any]:
    """With the keys without which ZeRO refuses the script's optimizer; its own training has what it needs."""
    section = config.get("optimizer")
    if client is None and not (isinstance(section, Mapping) and section.get("type")):
        return config
    try:
        now = resolve(config)
    except Exception:
        return config  # DeepSpeed refuses it, and says why
    before = resolve(without_refused(own, resolve))
    is_made_later = client is not None and not isinstance(client, torch.optim.Optimizer)
    trains_untested = is_made_later and before.stage > 0
    if now.stage > 0 and not _is_supported(section, client) and not trains_untested:
        config["zero_allow_untested_optimizer"] = True
    offloads = now.optimizer_device(now.stage) != "none"
    is_of_the_cpu = client is None or isinstance(client, DeepSpeedCPUAdam | DeepSpeedCPULion)
    offloads_now = is_made_later and before.optimizer_device(before.stage) != "none"
    if offloads and not is_of_the_cpu and not offloads_now:
        config["zero_force_ds_cpu_optimizer"] = False
    return config


def _is_supported(section: Any, client: Any) -> bool:
    if client is not None:
        return type(client) in ZERO_SUPPORTED_OPTIMIZERS
    return str(section["type"]).lower() in _SUPPORTED_NAMES


def finite(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy without infinity, which JSON does not have: Accelerate prints every so many steps.

    Numbers of NumPy, paths and dtypes that a script has in its dictionary are as a file has them.
    """
    return {
        str(name): _as_json(value)
        for name, value in config.items()
        if not (isinstance(value, float) and not math.isfinite(value))
    }


def _as_json(value: Any) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Mapping):
        return {str(name): _as_json(inside) for name, inside in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_as_json(inside) for inside in value]
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    return one_line(str(value))
