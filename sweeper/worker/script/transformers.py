"""Makes TrainingArguments agree with the candidate's configuration, which a Trainer insists on, and with a trial."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from sweeper.worker.script.saving import save_nothing
from sweeper.worker.script.substitution import Substitution
from sweeper.worker.script.when_imported import when_imported


def patch_transformers(substitution: Substitution, output: Path) -> None:
    """Takes effect with the imports. ``output`` stands for the script's own output folder."""
    arguments = functools.partial(_patch_arguments, substitution, output)
    when_imported("transformers.training_args", arguments)
    when_imported("transformers.trainer", _patch_trainer)
    when_imported("transformers.hf_argparser", functools.partial(_watch_parser, substitution))


def _patch_arguments(substitution: Substitution, output: Path, module: ModuleType) -> None:
    arguments = module.TrainingArguments
    original = arguments.__post_init__
    spec = substitution.spec

    @functools.wraps(original)
    def __post_init__(self: Any) -> None:
        with_deepspeed = self.deepspeed or os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"
        if with_deepspeed:
            substitution.shown.see("transformers", self.deepspeed)
        if with_deepspeed and (substitution.takes("batch") or substitution.takes("workload")):
            self.per_device_train_batch_size, self.gradient_accumulation_steps = (
                substitution.batch_for(
                    self.per_device_train_batch_size, self.gradient_accumulation_steps
                )
            )
        if with_deepspeed and substitution.takes("precision"):
            self.bf16, self.fp16 = spec.precision == "bf16", spec.precision == "fp16"
        if os.path.isdir(os.path.expanduser(self.output_dir or "")):
            output.mkdir(exist_ok=True)
        self.output_dir = str(output)
        original(self)
        _save_and_report_nothing(self)

    arguments.__post_init__ = __post_init__


def _save_and_report_nothing(arguments: Any) -> None:
    """Once they are checked: the best model is one of those that are saved."""
    arguments.save_strategy = type(arguments.save_strategy)("no")
    arguments.load_best_model_at_end = arguments.push_to_hub = False
    arguments.report_to = []


def _patch_trainer(module: ModuleType) -> None:
    """Trials train from the start: a checkpoint of one stage is none of another."""
    trainer = module.Trainer
    original = trainer.train

    @functools.wraps(original)
    def train(self: Any, resume_from_checkpoint: Any = None, *positional: Any, **named: Any) -> Any:
        return original(self, None, *positional, **named)

    trainer.train = train
    save_nothing(trainer, "save_model", "push_to_hub")


def _watch_parser(substitution: Substitution, module: ModuleType) -> None:
    """Then the command line takes what TrainingArguments has."""
    parser = module.HfArgumentParser
    original = parser.parse_args_into_dataclasses

    @functools.wraps(original)
    def parse_args_into_dataclasses(self: Any, *positional: Any, **named: Any) -> Any:
        substitution.shown.parses_arguments = True
        return original(self, *positional, **named)

    parser.parse_args_into_dataclasses = parse_args_into_dataclasses
