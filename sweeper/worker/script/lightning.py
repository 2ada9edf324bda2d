"""Gives Lightning's DeepSpeed strategy the candidate's configuration."""

from __future__ import annotations

import functools
import inspect
from types import ModuleType
from typing import Any

from sweeper.worker.script.saving import save_nothing
from sweeper.worker.script.substitution import Substitution
from sweeper.worker.script.when_imported import when_imported

_MODULES = ("lightning.pytorch.strategies.deepspeed", "pytorch_lightning.strategies.deepspeed")
# The strategy refuses these, and takes them from its Trainer; deepspeed.initialize gets them from us.
_OF_THE_TRAINER = ("gradient_accumulation_steps", "train_batch_size")


def patch_lightning(substitution: Substitution) -> None:
    """Takes effect with the import."""
    for name in _MODULES:
        when_imported(name, functools.partial(_patch_strategy, substitution))


def _patch_strategy(substitution: Substitution, module: ModuleType) -> None:
    original = module.DeepSpeedStrategy.__init__
    signature = inspect.signature(original)

    @functools.wraps(original)
    def __init__(self: Any, *positional: Any, **named: Any) -> None:
        given = signature.bind(self, *positional, **named).arguments
        substitution.shown.see("lightning", given.get("config"))
        original(self, *positional, **named)
        own = self.config
        config = substitution(own)
        self.config = {n: v for n, v in config.items() if n in own or n not in _OF_THE_TRAINER}

    module.DeepSpeedStrategy.__init__ = __init__
    save_nothing(module.DeepSpeedStrategy, "save_checkpoint")
