"""What the forkserver loads once, so that no trial has to: importing this module is its work."""

from __future__ import annotations

import gc
import importlib

import deepspeed
import torch

import sweeper.worker.train
from sweeper.places import extensions_dir
from sweeper.worker.limits import remember_file_pages
from sweeper.worker.ops import adopt_built_ops

# deepspeed.initialize imports the last one, which calls torch.compile at import, which loads these.
for _name in (
    "torch._dynamo",
    "torch._inductor",
    "deepspeed.runtime.zero.muon.muon_optimizer",
):
    importlib.import_module(_name)

adopt_built_ops(["ShareMemCommBuilder", "CPUAdamBuilder"], folder=str(extensions_dir()))

# What is loaded stays: the forks share its pages, and their collector need not look at it.
gc.collect()
gc.freeze()
remember_file_pages()

__all__ = ["deepspeed", "sweeper", "torch"]
