"""A plain DeepSpeed loop: python plain.py config.json data.pt counts.json"""

import sys

import counted
import deepspeed
import torch
from sweeper.models.gpt2 import build

config, data, counts = sys.argv[1:]
deepspeed.init_distributed()
torch.manual_seed(1)
model = build(layers=2, width=64, heads=2, vocab_size=512, max_positions=128)
engine, *_ = deepspeed.initialize(model=model, model_parameters=model.parameters(), config=config)
sizes = counted.counting(engine.module)
losses = []
for micro_batches in torch.load(data)[torch.distributed.get_rank()]:
    step = []
    for tokens in micro_batches:
        loss = engine(tokens)
        engine.backward(loss)
        engine.step()
        step.append(loss.detach().float())
    mean = torch.stack(step).mean()
    torch.distributed.all_reduce(mean)
    losses.append(float(mean) / torch.distributed.get_world_size())
counted.write(counts, engine, sizes, losses=losses)
counted.end()
