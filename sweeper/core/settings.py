"""The settings that describe one training trial, and what each may be.

These dataclasses are the one place that gives a setting its type, its allowed values and its
meaning: the Hydra schema, the errors and the help are made from them. Their *values* stand in
``conf/``, so no field has a default here but null, which leaves a knob to DeepSpeed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from typing import Any, TypeAlias, TypeVar, get_type_hints

from sweeper.core.quantities import parse_bytes
from sweeper.core.script import check_arguments
from sweeper.errors import UsageError

Scalar: TypeAlias = str | int | float | bool | None
_T = TypeVar("_T")
FREE_GROUPS = ("model", "ds")  # what is in them is not ours to name
HUGGING_FACE = "sweeper.models.hf.build"  # the factory of an architecture by its config
# Of a model: its factory, the functions that make its batches and its loss, and what it is called
_NO_ARGUMENTS = ("_target_", "_batch_", "_loss_", "name")


def setting(help: str, *, choices: tuple[Scalar, ...] = (), minimum: float | None = None) -> Any:
    """A field with its meaning, and the values it may have."""
    return field(metadata={"help": help, "choices": choices, "minimum": minimum})


def knob(
    help: str,
    *,
    choices: tuple[Scalar, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    own: Scalar = None,
) -> Any:
    """A setting that is left to DeepSpeed where it is null; ``own`` is what DeepSpeed then takes."""
    metadata = {"help": help, "choices": choices, "minimum": minimum, "maximum": maximum}
    return field(default=None, metadata={**metadata, "own": own})


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroSettings:
    """Sizes are in elements, as in DeepSpeed, not in bytes."""

    stage: int = setting(
        "what ZeRO shards over the ranks: 0 nothing, 1 optimizer states, 2 and gradients, 3 and parameters",
        choices=(0, 1, 2, 3),
    )
    reduce_bucket_size: int | None = knob(
        "gradients that are reduced in one go: small saves memory, large saves calls",
        minimum=1,
        own=500_000_000,
    )
    allgather_bucket_size: int | None = knob(
        "updated parameters that are gathered in one go, at stages 1 and 2",
        minimum=2,
        own=500_000_000,
    )
    overlap_comm: bool | None = knob("reduce gradients while the backward pass goes on")
    reduce_scatter: bool | None = knob("reduce each shard to its owner, not to all", own=True)
    contiguous_gradients: bool | None = knob(
        "copy gradients to one buffer as they come: against fragmentation", own=True
    )
    round_robin_gradients: bool | None = knob(
        "spread the gradients finely, so that ranks copy them to the CPU side by side", own=False
    )
    sub_group_size: int | None = knob(
        "parameters that the optimizer updates in one go: small lowers its peak",
        minimum=1,
        own=1_000_000_000,
    )
    stage3_prefetch_bucket_size: int | None = knob(
        "parameters fetched ahead: overlap against memory", minimum=0, own=50_000_000
    )
    stage3_param_persistence_threshold: int | None = knob(
        "parameters smaller than this stay whole on every rank", minimum=0, own=100_000
    )
    stage3_max_live_parameters: int | None = knob(
        "gathered parameters that may be there at once", minimum=0, own=1_000_000_000
    )
    stage3_max_reuse_distance: int | None = knob(
        "a parameter used again within this distance is kept", minimum=0, own=1_000_000_000
    )
    stage3_module_granularity_threshold: int | None = knob(
        "modules finer than this are fetched as one", minimum=0, own=0
    )
    stage3_allgather_sequential: bool | None = knob(
        "gather one parameter after the other: a lower peak, no prefetch", own=False
    )
    hpz_partition_size: int | None = knob(
        "ZeRO++ hpZ: ranks that hold a whole second copy of the parameters", minimum=1, own=1
    )
    quantized_weights: bool | None = knob(
        "ZeRO++ qwZ: gather the parameters as 8-bit integers", own=False
    )
    quantized_gradients: bool | None = knob(
        "ZeRO++ qgZ: reduce the gradients as 4-bit integers between nodes", own=False
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OffloadSettings:
    optimizer: str = setting("where the optimizer states live", choices=("none", "cpu", "nvme"))
    params: str = setting("where the parameters live between uses", choices=("none", "cpu", "nvme"))
    optimizer_ratio: float | None = knob(
        "share of the optimizer states that is offloaded (Twin-Flow)",
        minimum=0.0,
        maximum=1.0,
        own=1.0,
    )
    pin_memory: bool | None = knob("page-locked host memory: faster copies", own=True)
    super_offload: bool | None = knob("SuperOffload: CPU and device update side by side", own=False)
    nvme_path: str | None = knob("folder on the NVMe drive; null where nothing goes there")
    pipeline_read: bool | None = knob("read the next states while these are updated", own=False)
    pipeline_write: bool | None = knob("write the last states while these are updated", own=False)
    aio_block_size: int | None = knob("bytes of one NVMe request", minimum=1, own=1_048_576)
    aio_queue_depth: int | None = knob("NVMe requests under way at once", minimum=1, own=8)
    aio_threads: int | None = knob("threads that submit NVMe requests", minimum=1, own=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionSettings:
    mode: str = setting(
        "the dtype that is trained in; autocast_bf16 keeps fp32 parameters",
        choices=("fp32", "bf16", "fp16", "autocast_bf16"),
    )
    fp16_initial_scale_power: int = setting(
        "fp16 starts with a loss scale of 2 to this power", minimum=0
    )
    fp16_loss_scale: float | None = knob(
        "a fixed loss scale; 0 adapts it to overflows", minimum=0, own=0.0
    )
    bf16_master_weights: bool | None = knob("master weights and gradients in bf16 too", own=False)
    bf16_optimizer_states: bool | None = knob("Adam's two moments in bf16 too", own=False)
    grad_accum_dtype: str | None = knob(
        "what micro-batches' gradients are summed in", choices=("fp32", "bf16", "fp16")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CommSettings:
    dtype: str | None = knob(
        "what gradients are sent in: 16 bits halve the traffic", choices=("fp32", "bf16", "fp16")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    micro_size: int = setting("samples in one forward pass of one rank", minimum=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointingSettings:
    every_nth_block: int = setting(
        "activation checkpointing: recompute every block (1), every second (2), ..., none (0)",
        minimum=0,
    )
    on_cpu: bool = setting("keep what is saved for the recomputation in host memory")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileSettings:
    mode: str = setting(
        "engine compiles the model with torch.compile, deepcompile with DeepSpeed's own passes too",
        choices=("none", "engine", "deepcompile"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelSettings:
    """Degrees; what is left of the ranks is data-parallel."""

    tensor: int = setting("ranks that share each layer's matrices (AutoTP)", minimum=1)
    pipeline: int = setting("stages that the layers are cut into (PipelineModule)", minimum=1)
    sequence: int = setting("ranks that share each sequence (Ulysses)", minimum=1)
    expert: int = setting("ranks that share the experts of a mixture", minimum=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerSettings:
    type: str = setting("the optimizer", choices=("AdamW", "Adam", "Lion", "Muon"))
    implementation: str = setting(
        "of Adam without offload: torch's fused, foreach or plain loop, or DeepSpeed's FusedAdam",
        choices=("fused", "foreach", "plain", "deepspeed"),
    )
    lr: float = setting("learning rate", minimum=0)
    betas: list[float] = setting("decay rates of the two moments")
    eps: float = setting("added to the denominator", minimum=0)
    weight_decay: float = setting("weight decay", minimum=0)
    gradient_clipping: float = setting("largest norm of the gradients; 0 does not clip", minimum=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadSettings:
    global_batch_size: int = setting(
        "samples in one optimizer step over all ranks; every trial trains this many", minimum=1
    )
    sequence_length: int = setting("tokens in a sample", minimum=1)
    tokens_file: str | None = setting(
        "tokens to train on: a flat .npy array or a raw .bin of unsigned 16-bit ids; null draws them"
    )
    seed: int = setting("seeds weights and batches, the same for every trial", minimum=0)


def ranks_on_node(ranks: int, ranks_per_node: int | None) -> int:
    """Of so many ranks those on the fullest node."""
    return min(ranks_per_node or ranks, ranks)


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareSettings:
    accelerator: str = setting("the device that DeepSpeed trains on", choices=("cpu", "cuda"))
    ranks: int = setting("number of processes; on CUDA one device each", minimum=1)
    memory_limit: str | None = setting(
        "what one rank may use (device memory on CUDA, host memory on CPU), e.g. 8GiB; null is what there is"
    )
    device_memory: str | None = knob(
        "what a device has, for hardware that is not there (explain), e.g. 24GiB; null asks the device"
    )

    host_memory: str | None = knob(
        "what a node's host has, for hardware that is not there (explain), e.g. 512GiB; null asks the host"
    )
    ranks_per_node: int | None = knob(
        "ranks of a node, which share its host (explain, of CUDA hardware that is not there) and hpZ's "
        "copy (zero=stage3_hpz); null is all",
        minimum=1,
    )
    device_name: str | None = knob(
        "the GPU of hardware that is described by name (hardware=h100); trials run where this one is; null is any"
    )
    host_cores: int | None = knob(
        "what a node's host has, for hardware that is not there (explain); null asks the host",
        minimum=1,
    )
    device_link_gigabytes_per_second: float | None = knob(
        "from a device to the others of its node, each way (explain tells it); null is not known",
        minimum=0,
    )
    host_link_gigabytes_per_second: float | None = knob(
        "from a device to its host, each way (explain tells it); null is not known", minimum=0
    )
    network_gigabytes_per_second: float | None = knob(
        "from a device to other nodes, each way (explain tells it); null is not known", minimum=0
    )

    @property
    def memory_limit_bytes(self) -> int | None:
        return _size("hardware.memory_limit", self.memory_limit)

    @property
    def device_memory_bytes(self) -> int | None:
        return _size("hardware.device_memory", self.device_memory)

    @property
    def host_memory_bytes(self) -> int | None:
        return _size("hardware.host_memory", self.host_memory)

    @property
    def ranks_on_node(self) -> int:
        """On the fullest one."""
        return ranks_on_node(self.ranks, self.ranks_per_node)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureSettings:
    min_warmup_steps: int = setting("optimizer steps before the measured ones, at least", minimum=1)
    max_warmup_steps: int = setting("and at most", minimum=1)
    settled_within: float = setting(
        "warm-up ends when a step is no longer faster than the last one by more than this share",
        minimum=0,
    )
    min_steps: int = setting("optimizer steps that are timed, at least", minimum=3)
    max_steps: int = setting("and at most", minimum=3)
    interval: float = setting(
        "enough is measured when half the 95 % interval of the median is this share of it",
        minimum=0,
    )
    max_seconds: float = setting(
        "no further step is timed once the timed ones took this long, but for the first three",
        minimum=0,
    )
    beaten_seconds: float | None = knob(
        "a trial ends early once its optimizer steps surely take longer; a study sets it", minimum=0
    )
    loss_tolerance_fp32: float = setting(
        "a candidate whose losses differ by more than this share trains differently", minimum=0
    )
    loss_tolerance_16bit: float = setting(
        "the same where one of the two trains in 16 bits", minimum=0
    )
    breakdown_steps: int = setting(
        "steps after the timed ones that are taken apart into forward, backward and optimizer",
        minimum=0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSettings:
    runner: str = setting(
        "what starts the ranks: warm forks them from a loaded process, the others are the launchers",
        choices=("warm", "deepspeed", "torchrun"),
    )
    timeout_seconds: float = setting("a trial that takes longer has timed out", minimum=1)
    bind_cores: bool = setting("give each rank cores of its own")
    omp_threads: int | None = knob(
        "OpenMP threads of a rank; null is its share of the cores", minimum=1
    )
    cuda_allocator: str | None = knob(
        "PYTORCH_CUDA_ALLOC_CONF, e.g. expandable_segments:True: against fragmentation; null sets none"
    )
    hang_seconds: float = setting(
        "a trial that makes no progress for so long hangs; once it steps, for 20 times its longest step",
        minimum=1,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptSettings:
    path: str | None = knob(
        "the training script that is tuned in the place of a model; typed as +script=train.py"
    )
    module: str | None = knob(
        "the module that script.path is the file of, run as python -m runs it; typed as"
        " '+script=-m pkg.train'"
    )
    args: str | None = knob(
        "its arguments, a line as in a shell or a list of words; {micro_batch}, {gradient_accumulation},"
        " {ds_config} and {local_rank} in them are the trial's"
    )
    ds_config: str | None = knob(
        "the configuration file that {ds_config} starts from; null makes one of the settings"
    )
    folder: str | None = knob("the folder that it runs in; null is the one it was typed in")
    engine: int | None = knob(
        "which of several engines is tuned, counted as the script makes them from 1; null is the one with most"
        " parameters that trains",
        minimum=1,
    )
    samples: str | None = knob(
        "what tells how many samples a step trains: drawn (from data loaders), rows or elements (of what the"
        " model is fed), or as_configured, which takes the script's word for it; null finds out",
        choices=("drawn", "rows", "elements", "as_configured"),
    )
    units_per_sample: float | None = knob(
        "how many of those make one sample of the configuration; null finds out", minimum=0
    )
    engine_accumulation: int | None = knob(
        "forward passes that DeepSpeed counts in a step, where the script accumulates beside it; null finds out",
        minimum=1,
    )
    sums_gradients_at: str | None = knob(
        "the ZeRO stages at which a loop of the script's own accumulates as it does now: stages 0 and 3, or 1 and 2;"
        " null finds out",
        choices=("0,3", "1,2"),
    )
    steps_grow: bool | None = knob(
        "later steps take longer, as with a curriculum: every trial is timed over the same steps; null finds out"
    )
    micro_batch_changes_training: bool | None = knob(
        "search the micro-batch although the script's losses depend on it: sizes are then ranked by speed alone"
    )
    probe_seconds: float | None = knob(
        "how long the script may train unmeasured before it is asked to have taken its first steps; null is 300",
        minimum=1,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that decides what a trial does.

    ``model`` names a factory and its arguments, and may name a ``_batch_`` and a ``_loss_``; ``ds`` holds raw DeepSpeed keys, which win over ours.
    """

    model: dict[str, Any]
    zero: ZeroSettings
    offload: OffloadSettings
    precision: PrecisionSettings
    comm: CommSettings
    batch: BatchSettings
    checkpointing: CheckpointingSettings
    compile: CompileSettings
    parallel: ParallelSettings
    optimizer: OptimizerSettings
    workload: WorkloadSettings
    hardware: HardwareSettings
    measure: MeasureSettings
    launch: LaunchSettings
    ds: dict[str, Any] = field(default_factory=dict)
    script: ScriptSettings = field(default_factory=ScriptSettings)

    @property
    def is_script(self) -> bool:
        """Whether a training script of the user's own is tuned; ``model`` then only has its name."""
        return self.script.path is not None

    @property
    def data_parallel(self) -> int:
        """Ranks that see different samples: what the model-parallel degrees leave of them."""
        degrees = self.parallel
        return self.hardware.ranks // (degrees.tensor * degrees.pipeline * degrees.sequence)

    @property
    def model_target(self) -> str:
        return str(self.model["_target_"])

    @property
    def model_arguments(self) -> dict[str, Any]:
        return {k: v for k, v in self.model.items() if k not in _NO_ARGUMENTS}

    def flat(self) -> dict[str, Any]:
        """Every setting under its dotted name, as it is typed: ``{"zero.stage": 2, ...}``."""
        return dict(_flatten(self, ""))


def _flatten(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if is_dataclass(value):
        for f in fields(value):
            yield from _flatten(getattr(value, f.name), f"{prefix}{f.name}.")
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _flatten(item, f"{prefix}{name}.")
    else:
        yield prefix.rstrip("."), value


def settings_from_mapping(values: Mapping[str, Any]) -> Settings:
    """Checks a resolved configuration and gives it types.

    Raises UsageError naming the setting, what was given and what is allowed. A key that is no
    setting is refused: it would be believed to act.
    """
    groups = [f.name for f in fields(Settings)]
    for name in values:
        if name not in groups:
            raise UsageError(
                f"{name}={values[name]}: there is no setting {name}; allowed are {', '.join(groups)}; "
                "type python -m sweeper --help for everything"
            )
    if not values.get("model"):
        raise UsageError("no model was given; type +model=gpt2, or another of conf/model/")
    if "_target_" not in values["model"]:
        raise UsageError(
            "model has no _target_, the function that builds it; type for example "
            "+model=gpt2, or model._target_=my_package.build"
        )
    settings = group_from_mapping(Settings, values, "")
    # A bad size is an error now, not in the trial; so is a script's bad line.
    hardware = settings.hardware
    _ = hardware.memory_limit_bytes, hardware.device_memory_bytes, hardware.host_memory_bytes
    check_arguments(settings.script.args or "")
    return settings


def _size(name: str, text: str | None) -> int | None:
    return None if text is None else parse_bytes(text, setting=name)


def settings_from_flat(flat: Mapping[str, Any]) -> Settings:
    """The inverse of ``Settings.flat``; what it lacks is null."""
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *groups, last = name.split(".")
        place = nested
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = value
    return settings_from_mapping(nested)


def group_from_mapping(cls: type[_T], values: Mapping[str, Any], prefix: str) -> _T:
    """A dataclass of settings from plain values. Raises UsageError as ``settings_from_mapping``."""
    hints = get_type_hints(cls)
    arguments: dict[str, Any] = {}
    for f in fields(cls):  # type: ignore[arg-type]
        name = f"{prefix}{f.name}"
        if f.name not in values:
            if f.default is not MISSING or f.default_factory is not MISSING:
                continue
            raise UsageError(f"{name} is missing from the configuration; type {name}=...")
        given, kind = values[f.name], hints[f.name]
        if isinstance(kind, type) and is_dataclass(kind):
            if not isinstance(given, Mapping):
                raise UsageError(f"{name}={given}: is a group; type {name}=<one of conf/{name}/>")
            arguments[f.name] = group_from_mapping(kind, given, f"{name}.")
        else:
            check_value(name, given, f.metadata)
            arguments[f.name] = given
    return cls(**arguments)


def allowed(value: Scalar, metadata: Mapping[str, Any]) -> bool:
    """Whether a setting may have a value; ``metadata`` as of ``setting_names``."""
    try:
        check_value("", value, metadata)
    except UsageError:
        return False
    return True


def check_value(name: str, given: Any, metadata: Mapping[str, Any]) -> None:
    """Raises UsageError for a value, of the setting's type, that it may not have."""
    if given is None and "own" in metadata:
        return
    choices, minimum = metadata.get("choices", ()), metadata.get("minimum")
    maximum = metadata.get("maximum")
    if choices and given not in choices:
        allowed = ", ".join(map(str, choices))
        raise UsageError(f"{name}={given}: allowed are {allowed}; type {name}={choices[0]}")
    if minimum is not None and (not isinstance(given, int | float) or not given >= minimum):
        raise UsageError(f"{name}={given}: must be at least {minimum:g}; type {name}={minimum:g}")
    if maximum is not None and not given <= maximum:
        raise UsageError(f"{name}={given}: must be at most {maximum:g}; type {name}={maximum:g}")
    if isinstance(given, float) and not math.isfinite(given):
        raise UsageError(f"{name}={given}: is no finite number; type {name}={minimum or 1:g}")


def with_values(settings: Settings, values: Mapping[str, Scalar]) -> Settings:
    """A copy with dotted settings changed: ``{"zero.stage": 2}``."""
    for name, value in values.items():
        group, _, setting_name = name.partition(".")
        changed = replace(getattr(settings, group), **{setting_name: value})
        settings = replace(settings, **{group: changed})
    return settings


def setting_names(cls: type = Settings, prefix: str = "") -> dict[str, Mapping[str, Any]]:
    """Every setting's dotted name with its type, help, choices and minimum; the model's own are not known."""
    names: dict[str, Mapping[str, Any]] = {}
    hints = get_type_hints(cls)
    for f in fields(cls):
        if is_dataclass(hints[f.name]):
            names |= setting_names(hints[f.name], f"{prefix}{f.name}.")
        elif f.name not in FREE_GROUPS:
            names[f"{prefix}{f.name}"] = {**f.metadata, "type": hints[f.name]}
    return names
