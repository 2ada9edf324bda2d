"""What the forkserver loads once, so that no trial has to: importing this module is its work."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os

import torch

from sweeper.worker.nvml import as_if_not_installed, device_is_there

_ON_A_DEVICE = os.environ.get("DS_ACCELERATOR") == "cuda"

with as_if_not_installed(), device_is_there() if _ON_A_DEVICE else contextlib.nullcontext():
    import deepspeed
    from deepspeed.accelerator import get_accelerator

    get_accelerator()

    import sweeper.worker.train
    from sweeper.places import extensions_dir
    from sweeper.worker.limits import remember_file_pages
    from sweeper.worker.ops import adopt_built_ops

    # What deepspeed.initialize imports; muon_optimizer calls torch.compile at import, which loads torch's two.
    for _name in (
        "torch._dynamo",
        "torch._inductor",
        "deepspeed.runtime.zero.muon.muon_optimizer",
        "deepspeed.module_inject.auto_ep_layer",
    ):
        with contextlib.suppress(ImportError):  # another version's
            importlib.import_module(_name)

# On a CPU init_distributed asks this of every op, with setuptools and a program that gcc has to link.
# On a device the answer may need it, which no fork could use then.
if not _ON_A_DEVICE:
    _ = deepspeed.ops.__compatible_ops__

adopt_built_ops(["ShareMemCommBuilder", "CPUAdamBuilder"], folder=str(extensions_dir()))

# What is loaded stays: the forks share its pages, and their collector need not look at it.
gc.collect()
gc.freeze()
remember_file_pages()

__all__ = ["deepspeed", "sweeper", "torch"]
