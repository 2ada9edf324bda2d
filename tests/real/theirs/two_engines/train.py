"""Distillation: the teacher's engine is made first, and only the student's trains."""

import copy
import os

import deepspeed
import torch
from torch import nn

CONFIG = {
    "train_micro_batch_size_per_gpu": 4,
    "gradient_accumulation_steps": 2,
    "optimizer": {"type": "AdamW", "params": {"lr": 1e-3, "torch_adam": True}},
    "zero_optimization": {"stage": 1},
}
FROZEN = {**copy.deepcopy(CONFIG), "zero_optimization": {"stage": 0}}
del FROZEN["optimizer"]


def net(width):
    return nn.Sequential(nn.Embedding(64, width), nn.Linear(width, width), nn.Linear(width, 64))


torch.manual_seed(0)
teacher, *_ = deepspeed.initialize(model=net(64), config=FROZEN)
teacher.eval()
student = net(int(os.environ.get("WIDTH", "32")))
engine, *_ = deepspeed.initialize(
    model=student, model_parameters=student.parameters(), config=CONFIG
)
data = torch.randint(0, 64, (8192, 32))
loader = torch.utils.data.DataLoader(data, batch_size=engine.train_micro_batch_size_per_gpu())
for ids in loader:
    with torch.no_grad():
        wanted = teacher(ids).float().softmax(-1)
    loss = nn.functional.cross_entropy(engine(ids).float().flatten(0, 1), wanted.flatten(0, 1))
    engine.backward(loss)
    engine.step()
