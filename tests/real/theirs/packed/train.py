"""Without padding: the samples of a micro-batch lie end to end in one row."""

import argparse
import os

import deepspeed
import torch
from torch import nn


class Samples(torch.utils.data.Dataset):
    def __len__(self):
        return 8192

    def __getitem__(self, index):
        return (torch.arange(8 + index % 9) + index) % 64


def flattened(samples):
    ids = torch.cat(samples)[None]
    labels = torch.cat([torch.cat([torch.tensor([-100]), s[1:]]) for s in samples])[None]
    return {"input_ids": ids, "labels": labels}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        width = int(os.environ.get("WIDTH", "32"))
        self.embed, self.head = nn.Embedding(64, width), nn.Linear(width, 64)

    def forward(self, input_ids, labels):
        logits = self.head(self.embed(input_ids))[:, :-1]
        targets = labels[:, 1:].flatten()
        # Summed over all samples: how they are cut into micro-batches makes no difference.
        total = nn.functional.cross_entropy(
            logits.float().flatten(0, 1), targets, ignore_index=-100, reduction="none"
        ).sum()
        return total / 12 / engine.train_micro_batch_size_per_gpu()


args = deepspeed.add_config_arguments(argparse.ArgumentParser()).parse_args()
torch.manual_seed(0)
model = Net()
engine, _, loader, _ = deepspeed.initialize(
    args=args,
    model=model,
    model_parameters=model.parameters(),
    training_data=Samples(),
    collate_fn=flattened,
)
for batch in loader:
    engine.backward(engine(**batch))
    engine.step()
