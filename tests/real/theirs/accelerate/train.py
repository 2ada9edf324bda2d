"""Accelerate, with a plugin of the script's own."""

import os

import torch
from accelerate import Accelerator, DeepSpeedPlugin
from torch import nn

plugin = DeepSpeedPlugin(
    hf_ds_config={
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": 4,
        "zero_optimization": {"stage": 1},
    }
)
accelerator = Accelerator(deepspeed_plugin=plugin)
torch.manual_seed(0)
size = plugin.deepspeed_config["train_micro_batch_size_per_gpu"]
size = 2 if size == "auto" else size
width = int(os.environ.get("WIDTH", "32"))
model = nn.Sequential(nn.Embedding(64, width), nn.Linear(width, 64))
data = torch.randint(0, 64, (4096, 33))
loader = torch.utils.data.DataLoader(data, batch_size=size, shuffle=True)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
for ids in loader:
    with accelerator.accumulate(model):
        logits = model(ids[:, :-1])
        loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
