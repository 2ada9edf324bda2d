"""Makes the model that a trial trains, spread over the ranks as asked, and lets DeepSpeed take it."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import deepspeed
import torch
from deepspeed import comm as dist
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sweeper.core.exported import Layout, layout_of_spec
from sweeper.core.spec import TrialSpec
from sweeper.places import models_dir
from sweeper.worker.failures import UnsupportedHere
from sweeper.worker.feed import LossOf, MakeBatch, batch_maker

Then = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What is stepped. ``split`` is set where the engine is a pipeline's, which takes (inputs, labels).

    ``model`` is what was given: it may know a ``vocab_size`` and its ``flops_per_token``. ``config`` is
    the DeepSpeed configuration with what only the model knows. ``loss_factor`` is what a rank's mean
    loss is multiplied with for the backward pass. ``loss`` and ``make_batch`` are the user's own.
    """

    engine: Any
    model: Any
    config: dict[str, Any]
    data_rank: int
    split: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
    loss_factor: float = 1.0
    loss: LossOf | None = None
    make_batch: MakeBatch | None = None

    @property
    def batches(self) -> MakeBatch:
        """Makes what the model is trained on."""
        return batch_maker(self.model, self.make_batch)


def _silent() -> None:
    pass


def build(spec: TrialSpec, before_initialize: Then) -> Training:
    """The engine of this rank, in training mode. Weights come from the seed, whatever the layout."""
    torch.manual_seed(spec.seed)
    layout = layout_of_spec(spec)
    if layout.pipeline_stages > 1:
        module_name = spec.model_target.rpartition(".")[0]
        chain = getattr(_module(module_name), "pipeline", None)
        if chain is None:
            raise UnsupportedHere(f"parallel.pipeline needs a function pipeline in {module_name}")
        chain = chain(**spec.model_arguments)
        return pipelined(chain, spec.ds_config, layout, before_initialize, seed=spec.seed)
    stage3 = _is_stage3(spec.ds_config)
    context = (
        deepspeed.zero.Init(config_dict_or_path=spec.ds_config)
        if stage3
        else contextlib.nullcontext()
    )
    with context:
        model = function_named(spec.model_target)(**spec.model_arguments)
    if hasattr(model, "draw_weights"):
        model.draw_weights(spec.seed, _gathered if stage3 else contextlib.nullcontext)
    training = whole(model, spec.ds_config, layout, before_initialize)
    return replace(
        training,
        loss=spec.loss_target and function_named(spec.loss_target),
        make_batch=spec.batch_target and function_named(spec.batch_target),
    )


def _gathered(parameters: list[nn.Parameter]) -> AbstractContextManager[Any]:
    """Partitioned parameters at their full size; what the first rank writes to them stays."""
    gathered: AbstractContextManager[Any] = deepspeed.zero.GatheredParameters(
        parameters, modifier_rank=0
    )
    return gathered


def whole(
    model: Any, config: dict[str, Any], layout: Layout, before_initialize: Then = _silent
) -> Training:
    """DeepSpeed's engine for a model that is there, changed in place as ``layout`` says."""
    recompute(model, layout)
    if layout.tensor_parallel > 1 and "partition_config" not in config["tensor_parallel"]:
        plan = _of_the_model(model, "tensor_parallel_plan", "parallel.tensor")
        tensor_parallel = {"partition_config": plan(), **config["tensor_parallel"]}
        config = {**config, "tensor_parallel": tensor_parallel}
    if layout.expert_parallel > 1:
        _share_experts(model, layout.expert_parallel)
    groups = None
    if layout.sequence_parallel > 1:
        groups = _share_sequences(model, layout.sequence_parallel)
    before_initialize()
    engine, *_ = deepspeed.initialize(
        model=model, model_parameters=_trained(model), config=config, mpu=groups
    )
    if layout.compile != "none":
        engine.compile()
    engine.train()
    return Training(
        engine=engine,
        model=model,
        config=config,
        # Ranks that share a sample's work are neighbours.
        data_rank=dist.get_rank() // layout.ranks_of_a_sample,
        # Below stage 3 DeepSpeed sums gradients over the ranks of a sequence; at stage 3 it averages.
        loss_factor=1.0 if _is_stage3(config) else 1.0 / layout.sequence_parallel,
    )


def pipelined(
    chain: Any,
    config: dict[str, Any],
    layout: Layout,
    before_initialize: Then = _silent,
    *,
    seed: int,
    weights: Sequence[nn.Module] | None = None,
) -> Training:
    """Each rank builds its own stage of a model's chain of parts, with weights from the seed.

    ``weights`` are built modules, one for each part, whose weights are taken instead.
    """
    from deepspeed.pipe import LayerSpec, PipelineModule, TiedLayerSpec

    layers = []
    block = 0
    for part in chain.parts:
        cls, arguments = part.cls, part.arguments
        if part.is_block:
            if (n := layout.checkpoint_every_nth_block) and block % n == 0:
                cls, arguments = Recomputed, {"cls": cls, "arguments": arguments}
            block += 1
        if part.tied is None:
            layers.append(LayerSpec(cls, **arguments))
        else:
            layers.append(TiedLayerSpec(part.tied, cls, forward_fn=part.forward, **arguments))
    module = PipelineModule(
        layers=layers,
        num_stages=layout.pipeline_stages,
        loss_fn=chain.loss,
        seed_layers=True,
        seed_fn=torch.manual_seed,
        base_seed=seed,
    )
    # The weights are drawn; it would go on seeding before each layer of each step.
    module.seed_layers = False
    if weights is not None:
        _take_weights(module, chain.parts, weights)
    before_initialize()
    engine = pipeline_engine(module, config)
    return Training(
        engine=engine,
        model=chain,
        config=config,
        data_rank=engine.grid.get_data_parallel_rank(),
        split=chain.split,
    )


def pipeline_engine(module: Any, config: dict[str, Any]) -> Any:
    """DeepSpeed's engine for a PipelineModule, in training mode."""
    engine, *_ = deepspeed.initialize(
        model=module,
        model_parameters=_trained(module),
        config=config,
    )
    engine.train()
    return engine


def _trained(model: nn.Module) -> list[nn.Parameter]:
    """Frozen parameters have no optimizer states."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _take_weights(module: Any, parts: Sequence[Any], weights: Sequence[nn.Module]) -> None:
    """Into this rank's stage, which names its layers by their place in the chain."""
    built = dict(module.named_modules())
    for place, (part, own) in enumerate(zip(parts, weights, strict=True)):
        layer = built.get(str(place) if part.tied is None else f"tied_modules.{part.tied}")
        if layer is not None:
            layer = layer.block if isinstance(layer, Recomputed) else layer
            layer.load_state_dict(own.state_dict())


class Recomputed(nn.Module):
    """A block of a pipeline's stage whose activations are computed again in the backward pass."""

    def __init__(self, *, cls: type[nn.Module], arguments: dict[str, Any]) -> None:
        super().__init__()
        self.block = cls(**arguments)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = checkpoint(self.block, x, use_reentrant=False)
        return output


_RECOMPUTES = ("checkpoint_every", "gradient_checkpointing_enable")


def can_recompute(model: Any) -> bool:
    """Whether activation checkpointing can be switched on in the model."""
    return any(hasattr(model, name) for name in _RECOMPUTES)


def recompute(model: Any, layout: Layout) -> None:
    """Switches activation checkpointing on in the model, where it is asked for."""
    every, on_cpu = layout.checkpoint_every_nth_block, layout.checkpoint_on_cpu
    if every == 0:
        return
    if hasattr(model, "checkpoint_every"):
        model.checkpoint_every = every
        model.checkpoint_on_cpu = on_cpu
    elif hasattr(model, "gradient_checkpointing_enable"):
        _recompute_hugging_face(model, every, on_cpu)
    else:
        raise UnsupportedHere(
            f"checkpointing.every_nth_block={every} needs a model with {' or '.join(_RECOMPUTES)},"
            f" and {type(model)} is none"
        )


def _recompute_hugging_face(model: Any, every: int, on_cpu: bool) -> None:
    """Hugging Face switches its blocks on all together, each of which then has a switch of its own."""
    try:
        _enable_checkpointing(model)
    except ValueError as error:
        raise UnsupportedHere(f"checkpointing.every_nth_block={every}: {error}") from error
    blocks = [
        block
        for module in model.modules()
        if isinstance(module, nn.ModuleList)
        for block in module
        if getattr(block, "gradient_checkpointing", False)
    ]
    if not blocks and (every > 1 or on_cpu):
        raise UnsupportedHere(
            f"checkpointing.every_nth_block={every} with on_cpu={on_cpu}: {type(model)} recomputes"
            " all of its blocks, on the device, or none; type checkpointing=full or none"
        )
    for number, block in enumerate(blocks):
        block.gradient_checkpointing = number % every == 0
        if on_cpu:
            block._gradient_checkpointing_func = _checkpoint_on_cpu


def _enable_checkpointing(model: Any) -> None:
    """A model around another may pass the call on without arguments."""
    enable = model.gradient_checkpointing_enable
    takes = inspect.signature(enable).parameters
    named = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in takes.values())
    if named or "gradient_checkpointing_kwargs" in takes:
        enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    else:
        enable()


def _checkpoint_on_cpu(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What is saved for the recomputation waits on the CPU."""
    with torch.autograd.graph.save_on_cpu(pin_memory=torch.cuda.is_available()):
        return checkpoint(function, *arguments, use_reentrant=False, **options)


def _share_sequences(model: Any, size: int) -> ModuleType:
    """Ulysses: each rank has a slice of the sequence, and within attention a share of the heads.

    Returns the groups that ``deepspeed.initialize`` is to use: those that it makes from a
    configuration's sequence_parallel_size do not reduce gradients over the ranks of a sequence.
    """
    from deepspeed.runtime.sequence_parallel import parallel_state_sp
    from deepspeed.sequence.layer import DistributedAttention

    _of_the_model(model, "sequence_shard", "parallel.sequence")
    parallel_state_sp.initialize_sequence_parallel(sequence_parallel_size=size)
    group = parallel_state_sp.get_sequence_parallel_group()
    for module in list(model.modules()):
        core = getattr(module, "core", None)
        if isinstance(core, nn.Module):
            module.core = DistributedAttention(core, group, scatter_idx=2, gather_idx=1)
    model.sequence_shard = (dist.get_rank() % size, size)
    groups: ModuleType = parallel_state_sp
    return groups


class SharedExperts(nn.Module):
    """DeepSpeed's mixture of experts in place of a model's own, with the same weights."""

    def __init__(self, own: Any, size: int) -> None:
        from deepspeed.moe.layer import MoE

        super().__init__()
        self.mixture = MoE(
            own.gate.in_features,
            own.experts[0],
            own.num_experts,
            ep_size=size,
            k=own.top_k,
            min_capacity=0,
            drop_tokens=False,
            use_rts=False,
            top2_2nd_expert_sampling=False,
        )
        inner = self.mixture.deepspeed_moe
        inner.gate.wg.load_state_dict(own.gate.state_dict())
        first = dist.get_rank() % size * (own.num_experts // size)
        for index, expert in enumerate(inner.experts.deepspeed_experts):
            expert.load_state_dict(own.experts[first + index].state_dict())

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.mixture(x)[0]
        return output


def _share_experts(model: Any, size: int) -> None:
    for module in list(model.modules()):
        mixture = getattr(module, "feed_forward", None)
        if isinstance(getattr(mixture, "experts", None), nn.ModuleList):
            module.feed_forward = SharedExperts(mixture, size)


def _is_stage3(config: Mapping[str, Any]) -> bool:
    return bool(config["zero_optimization"]["stage"] == 3)


def _of_the_model(model: Any, name: str, setting: str) -> Any:
    """Something of the model that a setting needs, and a factory of the user's own may lack."""
    if not hasattr(model, name):
        raise UnsupportedHere(f"{setting} needs a model with {name}, and {type(model)} has none")
    return getattr(model, name)


def function_named(target: str) -> Callable[..., Any]:
    """``"package.module.function"`` -> the function."""
    module_name, _, name = target.rpartition(".")
    function: Callable[..., Any] = getattr(_module(module_name), name)
    return function


def _module(name: str) -> ModuleType:
    if name.startswith("sweeper.models.") and "sweeper.models" not in sys.modules:
        _adopt_models_folder()
    return importlib.import_module(name)


def _adopt_models_folder() -> None:
    """In a checkout ``models/`` stands beside the package; a wheel has it inside.

    By its place: an editable installation may know one of another checkout.
    """
    path = models_dir()
    spec = importlib.util.spec_from_file_location(
        "sweeper.models", path / "__init__.py", submodule_search_locations=[str(path)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sweeper.models"] = module
    spec.loader.exec_module(module)
