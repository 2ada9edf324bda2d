"""Makes TrainingArguments agree with the candidate's configuration: a Trainer refuses what differs."""

from __future__ import annotations

import functools
import os
from types import ModuleType
from typing import Any

from sweeper.worker.script.substitution import Substitution
from sweeper.worker.script.when_imported import when_imported


def patch_transformers(substitution: Substitution) -> None:
    """Takes effect with the imports."""
    when_imported("transformers.training_args", functools.partial(_patch_arguments, substitution))
    when_imported("transformers.hf_argparser", functools.partial(_watch_parser, substitution))


def _patch_arguments(substitution: Substitution, module: ModuleType) -> None:
    arguments = module.TrainingArguments
    original = arguments.__post_init__
    spec = substitution.spec

    @functools.wraps(original)
    def __post_init__(self: Any) -> None:
        with_deepspeed = self.deepspeed or os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"
        if with_deepspeed:
            substitution.shown.see("transformers", self.deepspeed)
        if with_deepspeed and substitution.acts:
            self.per_device_train_batch_size = spec.micro_size
            self.gradient_accumulation_steps = spec.accumulation_steps
            self.bf16, self.fp16 = spec.precision == "bf16", spec.precision == "fp16"
        original(self)

    arguments.__post_init__ = __post_init__


def _watch_parser(substitution: Substitution, module: ModuleType) -> None:
    """Then the command line takes what TrainingArguments has."""
    parser = module.HfArgumentParser
    original = parser.parse_args_into_dataclasses

    @functools.wraps(original)
    def parse_args_into_dataclasses(self: Any, *positional: Any, **named: Any) -> Any:
        substitution.shown.parses_arguments = True
        return original(self, *positional, **named)

    parser.parse_args_into_dataclasses = parse_args_into_dataclasses
