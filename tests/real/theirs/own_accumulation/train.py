"""The script accumulates in its own loop, and tells the engine which backward pass is the last."""

import argparse
import os

import deepspeed
import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int, default=2)
parser.add_argument("--accumulate", type=int, default=8)
args = deepspeed.add_config_arguments(parser).parse_args()
torch.manual_seed(0)
width = int(os.environ.get("WIDTH", "32"))
model = nn.Sequential(nn.Embedding(64, width), nn.Linear(width, 64))
engine, *_ = deepspeed.initialize(args=args, model=model, model_parameters=model.parameters())
loader = torch.utils.data.DataLoader(torch.randint(0, 64, (8192, 33)), batch_size=args.batch_size)
for number, ids in enumerate(loader, start=1):
    is_last = number % args.accumulate == 0
    engine.set_gradient_accumulation_boundary(is_last)
    logits = engine(ids[:, :-1])
    loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())
    engine.backward(loss / args.accumulate)
    if is_last:
        engine.step()
