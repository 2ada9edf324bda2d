"""Makes the model that a trial trains, spread over the ranks as asked, and lets DeepSpeed take it."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import deepspeed
import torch
from deepspeed import comm as dist
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sweeper.core.spec import TrialSpec
from sweeper.places import models_dir
from sweeper.worker.failures import UnsupportedHere


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What is stepped. ``split`` is set where the engine is a pipeline's, which takes (inputs, labels).

    ``config`` is the DeepSpeed configuration with what only the model knows. ``loss_factor`` is what a
    rank's mean loss is multiplied with for the backward pass.
    """

    engine: Any
    config: dict[str, Any]
    vocab_size: int
    flops_per_token: Callable[[int], float] | None
    data_rank: int
    split: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
    loss_factor: float = 1.0


def build(spec: TrialSpec) -> Training:
    """The engine of this rank, in training mode. Weights come from the seed, whatever the layout."""
    torch.manual_seed(spec.seed)
    return _pipelined(spec) if spec.pipeline_stages > 1 else _whole(spec)


def _whole(spec: TrialSpec) -> Training:
    config = spec.ds_config
    stage3 = config["zero_optimization"]["stage"] == 3
    context = (
        deepspeed.zero.Init(config_dict_or_path=config) if stage3 else contextlib.nullcontext()
    )
    with context:
        model = _function(spec.model_target)(**spec.model_arguments)
    _recompute(model, spec)
    if spec.tensor_parallel > 1:
        plan = _of_the_model(model, "tensor_parallel_plan", "parallel.tensor")
        tensor_parallel = {"partition_config": plan(), **config["tensor_parallel"]}
        config = {**config, "tensor_parallel": tensor_parallel}
    if spec.expert_parallel > 1:
        _share_experts(model, spec.expert_parallel)
    groups = None
    if spec.sequence_parallel > 1:
        groups = _share_sequences(model, spec.sequence_parallel)
    engine, *_ = deepspeed.initialize(
        model=model, model_parameters=model.parameters(), config=config, mpu=groups
    )
    if spec.compile != "none":
        engine.compile()
    engine.train()
    return Training(
        engine=engine,
        config=config,
        vocab_size=model.vocab_size,
        flops_per_token=getattr(model, "flops_per_token", None),
        # Ranks that share a sample's work are neighbours.
        data_rank=dist.get_rank() // (spec.tensor_parallel * spec.sequence_parallel),
        # Below stage 3 DeepSpeed sums gradients over the ranks of a sequence; at stage 3 it averages.
        loss_factor=1.0 if stage3 else 1.0 / spec.sequence_parallel,
    )


def _pipelined(spec: TrialSpec) -> Training:
    """Each rank builds its own stage of the model's chain of parts."""
    from deepspeed.pipe import LayerSpec, PipelineModule, TiedLayerSpec

    module_name = spec.model_target.rpartition(".")[0]
    chain = getattr(_module(module_name), "pipeline", None)
    if chain is None:
        raise UnsupportedHere(f"parallel.pipeline needs a function pipeline in {module_name}")
    chain = chain(**spec.model_arguments)
    layers = []
    block = 0
    for part in chain.parts:
        cls, arguments = part.cls, part.arguments
        if part.is_block:
            if (n := spec.checkpoint_every_nth_block) and block % n == 0:
                cls, arguments = Recomputed, {"cls": cls, "arguments": arguments}
            block += 1
        if part.tied is None:
            layers.append(LayerSpec(cls, **arguments))
        else:
            layers.append(TiedLayerSpec(part.tied, cls, forward_fn=part.forward, **arguments))
    module = PipelineModule(
        layers=layers,
        num_stages=spec.pipeline_stages,
        loss_fn=chain.loss,
        seed_layers=True,
        seed_fn=torch.manual_seed,
        base_seed=spec.seed,
    )
    module.seed_layers = (
        False  # the weights are drawn; it would seed before each layer of each step
    )
    engine, *_ = deepspeed.initialize(
        model=module,
        model_parameters=[p for p in module.parameters() if p.requires_grad],
        config=spec.ds_config,
    )
    engine.train()
    return Training(
        engine=engine,
        config=spec.ds_config,
        vocab_size=chain.vocab_size,
        flops_per_token=chain.flops_per_token,
        data_rank=engine.grid.get_data_parallel_rank(),
        split=chain.split,
    )


class Recomputed(nn.Module):
    """A block of a pipeline's stage whose activations are computed again in the backward pass."""

    def __init__(self, *, cls: type[nn.Module], arguments: dict[str, Any]) -> None:
        super().__init__()
        self.block = cls(**arguments)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = checkpoint(self.block, x, use_reentrant=False)
        return output


def _recompute(model: Any, spec: TrialSpec) -> None:
    if spec.checkpoint_every_nth_block == 0:
        return
    _of_the_model(model, "checkpoint_every", "checkpointing")
    model.checkpoint_every = spec.checkpoint_every_nth_block
    model.checkpoint_on_cpu = spec.checkpoint_on_cpu


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
