"""Lets Accelerate's DeepSpeed plugin, and with it Transformers, read the candidate's configuration."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

from sweeper.worker.script.saving import save_nothing
from sweeper.worker.script.substitution import Substitution
from sweeper.worker.script.when_imported import when_imported

_OF_THE_PLUGIN = {
    "zero_stage": "zero_optimization.stage",
    "offload_optimizer_device": "zero_optimization.offload_optimizer.device",
    "offload_param_device": "zero_optimization.offload_param.device",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
}


def patch_accelerate(substitution: Substitution) -> None:
    """Takes effect with the imports."""
    when_imported("accelerate.utils.deepspeed", functools.partial(_patch_config, substitution))
    when_imported("accelerate.utils.dataclasses", functools.partial(_patch_plugin, substitution))
    when_imported("accelerate.accelerator", _patch_accelerator)


def _patch_accelerator(module: ModuleType) -> None:
    save_nothing(module.Accelerator, "save_state", "save_model")


def _patch_config(substitution: Substitution, module: ModuleType) -> None:
    """The configuration that an Accelerator, a Trainer or ``from_pretrained`` at stage 3 asks."""
    original = module.HfDeepSpeedConfig.__init__

    @functools.wraps(original)
    def __init__(self: Any, *positional: Any, **named: Any) -> None:
        original(self, *positional, **named)
        self.config = substitution(self.config)
        self.set_stage_and_offload()

    module.HfDeepSpeedConfig.__init__ = __init__


def _patch_plugin(substitution: Substitution, module: ModuleType) -> None:
    plugin = module.DeepSpeedPlugin
    post_init, set_mixed_precision = plugin.__post_init__, plugin.set_mixed_precision

    @functools.wraps(post_init)
    def __post_init__(self: Any) -> None:
        substitution.shown.see("accelerate", self.hf_ds_config)
        post_init(self)
        if not substitution.changes:
            return
        for name, key in _OF_THE_PLUGIN.items():
            fallback = "none" if name.endswith("device") else getattr(self, name)
            setattr(self, name, self.hf_ds_config.get_value(key, fallback))

    @functools.wraps(set_mixed_precision)
    def set_candidates(self: Any, mixed_precision: str) -> None:
        mode = substitution.spec.precision
        set_mixed_precision(self, mode if mode in ("bf16", "fp16") else "no")

    plugin.__post_init__ = __post_init__
    if substitution.takes("precision"):
        plugin.set_mixed_precision = set_candidates
