"""Two engines that train in turns; the discriminator goes backward twice for a step, the generator every second time."""

import os

import deepspeed
import torch
from torch import nn

CONFIG = {
    "train_micro_batch_size_per_gpu": 8,
    "optimizer": {"type": "Adam", "params": {"lr": 2e-4, "torch_adam": True}},
}
torch.manual_seed(0)
width = 4 * int(os.environ.get("WIDTH", "32"))
generator = nn.Sequential(nn.Linear(16, width), nn.ReLU(), nn.Linear(width, 32))
discriminator = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
d_engine, _, loader, _ = deepspeed.initialize(
    model=discriminator,
    model_parameters=discriminator.parameters(),
    config=CONFIG,
    training_data=list(torch.randn(8192, 32)),
)
g_engine, *_ = deepspeed.initialize(
    model=generator, model_parameters=generator.parameters(), config=CONFIG
)
judge = nn.functional.binary_cross_entropy_with_logits
for number, real in enumerate(loader):
    size = len(real)
    yes, no = torch.ones(size, 1), torch.zeros(size, 1)
    d_engine.backward(judge(d_engine(real), yes))
    with torch.no_grad():
        fake = g_engine(torch.randn(size, 16))
    d_engine.backward(judge(d_engine(fake), no))
    d_engine.step()
    if number % 2:
        fake = g_engine(torch.randn(size, 16))
        g_engine.backward(judge(discriminator(fake), yes))
        g_engine.step()
