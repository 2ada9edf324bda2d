"""Why a script's configuration cannot be run on the ranks and the accelerator that there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deepspeed.accelerator import get_accelerator

from sweeper.core.ds_config_mistakes import mistakes_before_all
from sweeper.core.fitting_batch import fitting_batch
from sweeper.core.resolved_config import Batch
from sweeper.worker.ds_resolved import data_parallel_ranks, resolve
from sweeper.worker.failures import UnsupportedHere


def check(config: Mapping[str, Any], *, is_batch_ours: bool) -> None:
    """Raises UnsupportedHere in words that say what to type; ``is_batch_ours`` where a setting makes the batch."""
    found = mistakes_before_all(config)
    if found:
        raise UnsupportedHere(f"its configuration: {'; '.join(found)}")
    ranks = data_parallel_ranks(config)
    try:
        resolved = resolve(config)
    except Exception:
        return  # DeepSpeed refuses it, and says why
    batch = resolved.batch
    if batch is not None and batch.train != batch.micro * batch.accumulation * ranks:
        raise UnsupportedHere(
            _of_ours(batch, ranks) if is_batch_ours else _of_its_own(batch, ranks)
        )
    accelerator = get_accelerator()
    has_bf16, has_fp16 = accelerator.is_bf16_supported(), accelerator.is_fp16_supported()
    lacks_fp16 = resolved.precision == "fp16" and not has_fp16
    lacks_bf16 = resolved.precision in ("bf16", "autocast_bf16") and not has_bf16
    if lacks_fp16 or lacks_bf16:
        other = "bf16" if lacks_fp16 and has_bf16 else "fp32"
        raise UnsupportedHere(
            f"its configuration trains in {resolved.precision}, which is not supported on this"
            f" {accelerator.device_name()}; type precision={other}"
        )


def _of_ours(batch: Batch, ranks: int) -> str:
    return (
        f"a batch of {batch.train} in micro-batches of {batch.micro} does not divide over {_ranks(ranks)}; type"
        f" {_fitting(batch, ranks)}"
    )


def _of_its_own(batch: Batch, ranks: int) -> str:
    fits, rest = divmod(batch.train, max(batch.micro * batch.accumulation, 1))
    made_for = there = ""
    if not rest and fits != ranks and batch.accumulation > 0:
        made_for = f": it is made for {fits} ranks, and here are {ranks}"
        there = f"hardware.ranks={fits}, or "
    fitting = _fitting(batch, ranks)
    is_kept = fitting.startswith(f"workload.global_batch_size={batch.train} ")
    return (
        f"its configuration says train_batch_size {batch.train} = train_micro_batch_size_per_gpu {batch.micro} x"
        f" gradient_accumulation_steps {batch.accumulation} x {_ranks(ranks)}, which it is not{made_for}; type"
        f" {there}{fitting} to keep {'its batch' if is_kept else 'nearly its batch'} on the ranks there are"
    )


def _fitting(batch: Batch, ranks: int) -> str:
    train, micro = fitting_batch(batch.train, batch.micro or batch.train, ranks)
    return f"workload.global_batch_size={train} batch.micro_size={micro}"


def _ranks(number: int) -> str:
    return f"{number} rank{'' if number == 1 else 's'}"
