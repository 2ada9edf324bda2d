"""Keys of a DeepSpeed configuration that DeepSpeed ignores where they stand, and where they belong."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from sweeper.core.ds_config import TOP_LEVEL_KEYS
from sweeper.core.resolved_config import KEYS_OF_SETTINGS

# Sections whose keys DeepSpeed looks up one by one, so that it does not refuse what it does not know; the
# others are refused with a line of its own. A test holds them against the installed DeepSpeed.
KEYS_OF_SECTIONS: Mapping[str, frozenset[str]] = {
    "optimizer": frozenset(["type", "params", "legacy_fusion"]),
    "scheduler": frozenset(["type", "params"]),
    "torch_autocast": frozenset(["enabled", "dtype", "lower_precision_safe_modules"]),
    "data_types": frozenset(
        ["grad_accum_dtype", "param_dtype", "buffer_dtype", "keep_in_fp32_modules"]
    ),
    "aio": frozenset(
        [
            "block_size",
            "queue_depth",
            "intra_op_parallelism",
            "single_submit",
            "overlap_events",
            "use_gds",
        ]
    ),
    "activation_checkpointing": frozenset(
        [
            "partition_activations",
            "number_checkpoints",
            "contiguous_memory_optimization",
            "synchronize_checkpoint_boundary",
            "cpu_checkpointing",
            "profile",
        ]
    ),
}
# Sections that DeepSpeed refuses an unknown key of, as it begins; a test holds them against it.
_STAGE_3 = (
    "prefetch_bucket_size",
    "param_persistence_threshold",
    "model_persistence_threshold",
    "max_live_parameters",
    "max_reuse_distance",
    "gather_16bit_weights_on_model_save",
    "module_granularity_threshold",
    "use_all_reduce_for_fetch_params",
    "allgather_sequential",
)
STRICT_KEYS: Mapping[str, frozenset[str]] = {
    "zero_optimization": frozenset(
        [
            *_STAGE_3,
            *(f"stage3_{name}" for name in _STAGE_3),
            "stage",
            "contiguous_gradients",
            "reduce_scatter",
            "reduce_bucket_size",
            "use_multi_rank_bucket_allreduce",
            "allgather_partitions",
            "allgather_bucket_size",
            "overlap_comm",
            "compute_grad_norm",
            "load_from_fp32_weights",
            "elastic_checkpoint",
            "offload_param",
            "offload_optimizer",
            "zenflow",
            "sub_group_size",
            "cpu_offload_param",
            "cpu_offload_use_pin_memory",
            "cpu_offload",
            "stage3_gather_fp16_weights_on_model_save",
            "ignore_unused_parameters",
            "legacy_stage1",
            "round_robin_gradients",
            "parameter_alignment",
            "zero_hpz_partition_size",
            "zero_quantized_weights",
            "zero_quantized_nontrainable_weights",
            "zero_quantized_gradients",
            "memory_efficient_linear",
            "pipeline_loading_checkpoint",
            "override_module_apply",
            "log_trace_cache_warnings",
            "enable_sanity_checks",
            "save_muon_momentum_buffer_in_memory",
            "leaf_module",
        ]
    ),
    "zero_optimization.offload_optimizer": frozenset(
        [
            "device",
            "nvme_path",
            "buffer_count",
            "pin_memory",
            "pipeline_read",
            "pipeline_write",
            "fast_init",
            "ratio",
            "super_offload",
            "cpuadam_cores_perc",
        ]
    ),
    "zero_optimization.offload_param": frozenset(
        ["device", "nvme_path", "buffer_count", "buffer_size", "max_in_cpu", "pin_memory"]
    ),
    "fp16": frozenset(
        [
            "enabled",
            "auto_cast",
            "loss_scale",
            "initial_scale_power",
            "loss_scale_window",
            "hysteresis",
            "consecutive_hysteresis",
            "min_loss_scale",
            "fp16_master_weights_and_grads",
        ]
    ),
    "bf16": frozenset(
        [
            "enabled",
            "immediate_grad_update",
            "check_grad_overflow",
            "bf16_master_weights_and_grads",
            "bf16_optimizer_states",
        ]
    ),
}
# What people put at the top, and its home.
_ZEROS = frozenset(
    [
        "stage",
        "offload_optimizer",
        "offload_param",
        "cpu_offload",
        "cpu_offload_param",
        "allgather_partitions",
        "ignore_unused_parameters",
        "stage3_gather_16bit_weights_on_model_save",
        "zero_quantized_nontrainable_weights",
    ]
) | {path[1] for path in KEYS_OF_SETTINGS.values() if path[0] == "zero_optimization"}
_HOMES: Mapping[str, str] = {
    **dict.fromkeys(_ZEROS, "zero_optimization"),
    **{name: section for section, names in KEYS_OF_SECTIONS.items() for name in names},
    **dict.fromkeys(
        ["loss_scale", "initial_scale_power", "loss_scale_window", "hysteresis", "min_loss_scale"],
        "fp16",
    ),
    **dict.fromkeys(["lr", "betas", "eps", "weight_decay"], "optimizer.params"),
    **dict.fromkeys(["warmup_num_steps", "warmup_max_lr", "warmup_min_lr"], "scheduler.params"),
}
_NO_HOME = frozenset(["enabled", "type", "params", "dtype", "profile"])  # of several sections


def keys_not_read(config: Mapping[str, Any]) -> list[str]:
    """A note for each, with what was meant: DeepSpeed says nothing of them."""
    return list(_notes(config))


def keys_refused(config: Mapping[str, Any]) -> list[str]:
    """A clause for each that DeepSpeed stops at, with what was meant."""
    return list(_refused(config))


def _refused(config: Mapping[str, Any]) -> Iterator[str]:
    for section, known in STRICT_KEYS.items():
        inside: Any = config
        for name in section.split("."):
            inside = inside.get(name) if isinstance(inside, Mapping) else None
        for name in inside if isinstance(inside, Mapping) else ():
            if name not in known:
                meant = _meant(str(name), known, section) or "; leave it out"
                yield f"{section}.{name}: DeepSpeed has no such key and stops at it{meant}"


def _notes(config: Mapping[str, Any]) -> Iterator[str]:
    for name in config:
        if name.startswith(("_", "$")) or name in TOP_LEVEL_KEYS or name in _REMOVED:
            continue
        yield f"DeepSpeed does not read {name} here{_meant(name, TOP_LEVEL_KEYS)}"
    for section, known in KEYS_OF_SECTIONS.items():
        inside = config.get(section)
        for name in inside if isinstance(inside, Mapping) else ():
            if name not in known:
                yield f"DeepSpeed does not read {section}.{name}{_meant(name, known, section)}"


# It refuses these by name.
_REMOVED = frozenset(
    ["amp", "nebula", "compression_training", "sparse_gradients", "eigenvalue", "elasticity"]
)


def _meant(name: str, known: frozenset[str], section: str = "") -> str:
    home = _HOMES.get(name)
    if home is not None and home != section and name not in _NO_HOME:
        return f"; it belongs into {home}"
    close = difflib.get_close_matches(name, sorted(known), n=1)
    if close:
        return f"; did you mean {section + '.' if section else ''}{close[0]}?"
    if not section and (nested := difflib.get_close_matches(name, sorted(_HOMES), n=1, cutoff=0.8)):
        return f"; did you mean {_HOMES[nested[0]]}.{nested[0]}?"
    return ""
