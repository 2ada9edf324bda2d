"""Makes the model that a trial trains, spread over the ranks as asked, and lets DeepSpeed take it."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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

Then = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What is stepped. ``split`` is set where the engine is a pipeline's, which takes (inputs, labels).

    ``model`` is what was given: it may know a ``vocab_size`` and its ``flops_per_token``. ``config`` is
    the DeepSpeed configuration with what only the model knows. ``loss_factor`` is what a rank's mean
    loss is multiplied with for the backward pass.
    """

    engine: Any
    model: Any
    config: dict[str, Any]
    data_rank: int
    split: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
    loss_factor: float = 1.0


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
    context = (
        deepspeed.zero.Init(config_dict_or_path=spec.ds_config)
        if _is_stage3(spec.ds_config)
        else contextlib.nullcontext()
    )
    with context:
        model = _function(spec.model_target)(**spec.model_arguments)
    return whole(model, spec.ds_config, layout, before_initialize)


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
        model=model, model_parameters=model.parameters(), config=config, mpu=groups
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
        model_parameters=[p for p in module.parameters() if p.requires_grad],
        config=config,
    )
    engine.train()
    return engine


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


def recompute(model: Any, layout: Layout) -> None:
    """Switches activation checkpointing on in the model, where it is asked for."""
    every, on_cpu = layout.checkpoint_every_nth_block, layout.checkpoint_on_cpu
    if every == 0:
        return
    if hasattr(model, "checkpoint_every"):
        model.checkpoint_every = every
        model.checkpoint_on_cpu = on_cpu
    elif hasattr(model, "gradient_checkpointing_enable") and every == 1 and not on_cpu:
        # A model of Hugging Face's: every block, or none.
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    else:
        raise UnsupportedHere(
            f"checkpointing.every_nth_block={every} with on_cpu={on_cpu} needs a model with"
            f" checkpoint_every (every block, on the device: or with gradient_checkpointing_enable),"
            f" and {type(model)} is none"
        )


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


def _function(target: str) -> Callable[..., Any]:
    """``"package.module.function"`` -> the function."""
    module_name, _, name = target.rpartition(".")
    function: Callable[..., Any] = getattr(_module(module_name), name)
    return function


def _module(name: str) -> ModuleType:
    if name.startswith("sweeper.models.") and importlib.util.find_spec("sweeper.models") is None:
        _adopt_models_folder()
    return importlib.import_module(name)


def _adopt_models_folder() -> None:
    """In a checkout ``models/`` stands beside the package; a wheel has it inside."""
    path = models_dir()
    spec = importlib.util.spec_from_file_location(
        "sweeper.models", path / "__init__.py", submodule_search_locations=[str(path)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sweeper.models"] = module
    spec.loader.exec_module(module)
