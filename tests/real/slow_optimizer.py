"""A model whose optimizer is slow on purpose."""

from __future__ import annotations

import time
from typing import Any

import torch

SECONDS = 0.25


def build(**shape: int) -> Any:
    from models.gpt2 import build as build_gpt2

    fast = torch.optim.AdamW.step

    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        time.sleep(SECONDS)
        return fast(self, *args, **kwargs)

    torch.optim.AdamW.step = step
    return build_gpt2(**shape)
