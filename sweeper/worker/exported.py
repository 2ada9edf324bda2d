"""The exported winner of a study, applied to a model in a training script of the user's own."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import deepspeed
import torch
import yaml
from deepspeed import comm as dist
from deepspeed.accelerator import get_accelerator
from deepspeed.pipe import PipelineModule
from torch import Tensor

from sweeper.core.exported import Layout, exported_layout
from sweeper.core.files import read_json
from sweeper.core.folder import BundleFolder
from sweeper.places import extensions_dir
from sweeper.worker.building import pipeline_engine, pipelined, whole
from sweeper.worker.failures import UnsupportedHere
from sweeper.worker.ops import adopt_built_ops


def prepare(best: str | Path, model: Any) -> Any:
    """This rank's DeepSpeed engine for ``model``, set up as the winner's trial was.

    ``best`` is a study's folder ``best``. The model is changed in place: activation checkpointing,
    tensor, sequence and expert parallelism. The engine is used as any other: ``loss = engine(batch)``,
    ``engine.backward(loss)``, ``engine.step()``; a pipeline's has ``train_batch``. Ranks that share
    a sample (README.md says which) are given the same batches.

    A pipeline takes a model of this package, whose weights it keeps, or a ``PipelineModule``.
    At ZeRO stage 3 a model that is too large for one rank is built under ``deepspeed.zero.Init``.
    """
    bundle = BundleFolder(Path(best))
    config = read_json(bundle.ds_config)
    if config is None or not bundle.settings.is_file():
        raise FileNotFoundError(
            f"{bundle.path} has no {bundle.ds_config.name} or no {bundle.settings.name}; "
            "give prepare() the folder results/<study>/best"
        )
    document = yaml.safe_load(bundle.settings.read_text(encoding="utf-8"))
    layout = exported_layout(document, where=str(bundle.settings))
    if layout.pipeline_stages > 1:
        _check_pipeline(model, layout)
    _connect(document["ops"])
    if layout.pipeline_stages > 1:
        return _pipeline(model, config, layout)
    training = whole(model, config, layout)
    if training.loss_factor != 1.0:
        _multiply_loss(training.engine, training.loss_factor)
    return training.engine


def _connect(ops: list[str]) -> None:
    """Joins the ranks, unless the script has; without a launcher this is the only one."""
    adopt_built_ops(ops, str(extensions_dir()))
    if dist.is_initialized():
        return
    accelerator = get_accelerator()
    if accelerator.device_name() != "cpu":
        accelerator.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    deepspeed.init_distributed(dist_backend=accelerator.communication_backend_name())


def _check_pipeline(model: Any, layout: Layout) -> None:
    every = layout.checkpoint_every_nth_block
    if isinstance(model, PipelineModule):
        if every and not model.activation_checkpoint_interval:
            raise UnsupportedHere(
                "the winner recomputes activations; make the PipelineModule with"
                f" activation_checkpoint_interval={every}"
            )
    elif not hasattr(model, "part_modules"):
        raise UnsupportedHere(
            f"the winner is a pipeline of {layout.pipeline_stages} stages: it needs a"
            f" deepspeed.pipe.PipelineModule(layers=..., num_stages={layout.pipeline_stages}),"
            f" and {type(model)} is none"
        )


def _pipeline(model: Any, config: dict[str, Any], layout: Layout) -> Any:
    if isinstance(model, PipelineModule):
        return pipeline_engine(model, config)
    return pipelined(
        model.pipeline, config, layout, seed=torch.initial_seed(), weights=model.part_modules()
    ).engine


def _multiply_loss(engine: Any, factor: float) -> None:
    """In the backward pass: what the model returns stays the loss."""
    backward = engine.backward

    @functools.wraps(backward)
    def scaled(loss: Tensor, *arguments: Any, **options: Any) -> Any:
        return backward(loss * factor, *arguments, **options)

    engine.backward = scaled
