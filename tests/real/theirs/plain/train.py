"""Plain DeepSpeed: a loader of DeepSpeed's own, a configuration that says the global batch alone."""

import argparse
import os

import deepspeed
import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--width", type=int, default=int(os.environ.get("WIDTH", "32")))
parser.add_argument("--local_rank", type=int, default=-1)
args = deepspeed.add_config_arguments(parser).parse_args()
torch.manual_seed(0)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(64, args.width), nn.Linear(args.width, 64)
        self.hidden = nn.Sequential(nn.Linear(args.width, args.width), nn.GELU())

    def forward(self, ids):
        logits = self.head(self.hidden(self.embed(ids[:, :-1])))
        return nn.functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())


model = Net()
engine, _, loader, _ = deepspeed.initialize(
    args=args,
    model=model,
    model_parameters=model.parameters(),
    training_data=list(torch.randint(0, 64, (4096, 33))),
)
for ids in loader:
    engine.backward(engine(ids))
    engine.step()
