"""Settings that are allowed by themselves, and not beside each other."""

from __future__ import annotations

from collections.abc import Mapping

from sweeper.core.settings import Settings
from sweeper.errors import UsageError

# Keys of DeepSpeed's with a setting of their own, beside which they would contradict each other.
_OWN_KEYS = {
    "train_batch_size": "workload.global_batch_size=8",
    "train_micro_batch_size_per_gpu": "batch.micro_size=1",
    "gradient_accumulation_steps": "batch.micro_size=1",
}
_SECTIONS = {
    "zero_optimization": "zero=stage1",
    "fp16": "precision=fp16",
    "bf16": "precision=bf16",
    "optimizer": "optimizer=adamw",
}


def check_together(settings: Settings) -> None:
    """Raises UsageError for what is allowed alone, and not beside the rest."""
    measure, betas = settings.measure, settings.optimizer.betas
    for least, most in (("min_steps", "max_steps"), ("min_warmup_steps", "max_warmup_steps")):
        low, high = getattr(measure, least), getattr(measure, most)
        if low > high:
            raise UsageError(
                f"measure.{least}={low}: is more than measure.{most}={high}; "
                f"type measure.{least}={high}, or measure.{most}={low}"
            )
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise UsageError(
            f"optimizer.betas={betas}: are two numbers from 0 to below 1; "
            "type 'optimizer.betas=[0.9,0.95]'"
        )
    for key, ours in _OWN_KEYS.items():
        if key in settings.ds:
            raise UsageError(
                f"ds.{key}={settings.ds[key]}: is another setting's, and it would contradict that; "
                f"type {ours}"
            )
    for section in _SECTIONS:
        if section in settings.ds and not isinstance(settings.ds[section], Mapping):
            raise UsageError(
                f"ds.{section}={settings.ds[section]}: DeepSpeed has keys below it; "
                f"type {_SECTIONS[section]}"
            )
