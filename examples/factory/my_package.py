"""A model, its batches and its loss, as somebody writes them who has never heard of the sweeper."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Forecaster(nn.Module):
    """Reads a time series and foretells its next values."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.inner = nn.Linear(1, width)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, nhead=4, dropout=0.0, batch_first=True)
            for _ in range(layers)
        )
        self.outer = nn.Linear(width, 1)

    def forward(self, series: Tensor) -> Tensor:
        x = self.inner(series.unsqueeze(-1))
        mask = nn.Transformer.generate_square_subsequent_mask(
            x.shape[1], device=x.device, dtype=x.dtype
        )
        for block in self.blocks:
            x = block(x, src_mask=mask, is_causal=True)
        return self.outer(x).squeeze(-1)


def build(width: int = 64, layers: int = 2) -> nn.Module:
    """The model, with random weights."""
    return Forecaster(width, layers)


def batch(samples: int, length: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Sine waves of a random frequency and phase."""
    frequency, phase = torch.rand(2, samples, 1, generator=generator)
    return {"series": torch.sin(torch.arange(length) * frequency + 6.28 * phase)}


def loss(output: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """How far each next value was missed."""
    return F.mse_loss(output[:, :-1].float(), batch["series"][:, 1:].float())
