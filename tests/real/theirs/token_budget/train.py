"""Batches of as many tokens, not of as many samples: the configuration's micro-batch is a number that nobody reads."""

import argparse
import os

import deepspeed
import torch
from torch import nn

LENGTHS = [4 + 4 * (index * 7 % 13) for index in range(8192)]


class Budget(torch.utils.data.Sampler):
    def __iter__(self):
        batch, longest = [], 0
        for index, length in enumerate(LENGTHS):
            if batch and max(longest, length) * (len(batch) + 1) > 256:
                yield batch
                batch, longest = [], 0
            batch.append(index)
            longest = max(longest, length)


class Samples(torch.utils.data.Dataset):
    def __len__(self):
        return len(LENGTHS)

    def __getitem__(self, index):
        return (torch.arange(LENGTHS[index]) + index) % 64


def padded(samples):
    return nn.utils.rnn.pad_sequence(samples, batch_first=True)


args = deepspeed.add_config_arguments(argparse.ArgumentParser()).parse_args()
torch.manual_seed(0)
width = int(os.environ.get("WIDTH", "32"))
model = nn.Sequential(nn.Embedding(64, width), nn.Linear(width, 64))
engine, *_ = deepspeed.initialize(args=args, model=model, model_parameters=model.parameters())
for ids in torch.utils.data.DataLoader(Samples(), batch_sampler=Budget(), collate_fn=padded):
    logits = engine(ids[:, :-1])
    engine.backward(nn.functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten()))
    engine.step()
