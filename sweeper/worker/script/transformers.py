"""Makes TrainingArguments agree with the candidate's configuration: a Trainer refuses what differs."""

from __future__ import annotations

import functools
import os
from types import ModuleType
from typing import Any

from sweeper.worker.script.substitution import Substitution
from sweeper.worker.script.when_imported import when_imported


def patch_transformers(substitution: Substitution) -> None:
    """Takes effect with the import."""
    if substitution.acts:
        then = functools.partial(_patch_arguments, substitution)
        when_imported("transformers.training_args", then)


def _patch_arguments(substitution: Substitution, module: ModuleType) -> None:
    arguments = module.TrainingArguments
    original = arguments.__post_init__
    spec = substitution.spec

    @functools.wraps(original)
    def __post_init__(self: Any) -> None:
        if self.deepspeed or os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
            self.per_device_train_batch_size = spec.micro_size
            self.gradient_accumulation_steps = spec.accumulation_steps
            self.bf16, self.fp16 = spec.precision == "bf16", spec.precision == "fp16"
        original(self)

    arguments.__post_init__ = __post_init__
