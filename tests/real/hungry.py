"""A model that asks for more memory than there is, at a moment of its own."""

from typing import Any

import torch
from torch import Tensor, nn

from models import gpt2

TOO_MUCH = 2**36  # floats


class Hungry(nn.Module):
    def __init__(self, model: Any, at_forward: int) -> None:
        super().__init__()
        self.model = model
        self.vocab_size = model.vocab_size
        self.left = at_forward

    def forward(self, tokens: Tensor) -> Tensor:
        self.left -= 1
        if self.left == 0:
            torch.ones(TOO_MUCH)
        loss: Tensor = self.model(tokens)
        return loss


def build(*, at_forward: int, **shape: Any) -> Hungry:
    """``at_forward``: 0 while the model is built, n in its n-th forward pass."""
    if at_forward == 0:
        torch.ones(TOO_MUCH)
    return Hungry(gpt2.build(**shape), at_forward)
