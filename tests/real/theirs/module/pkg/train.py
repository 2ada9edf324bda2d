"""Started as python -m pkg.train."""

import argparse
import os

import deepspeed
import torch
from torch import nn

from .model import net


def main():
    args = deepspeed.add_config_arguments(argparse.ArgumentParser()).parse_args()
    torch.manual_seed(0)
    model = net(int(os.environ.get("WIDTH", "32")))
    engine, _, loader, _ = deepspeed.initialize(
        args=args,
        model=model,
        model_parameters=model.parameters(),
        training_data=list(torch.randint(0, 64, (4096, 33))),
    )
    for ids in loader:
        logits = engine(ids[:, :-1])
        engine.backward(
            nn.functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())
        )
        engine.step()


if __name__ == "__main__":
    main()
