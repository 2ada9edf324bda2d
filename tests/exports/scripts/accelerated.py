"""An Accelerate loop on the CPU, as the README has it: python accelerated.py batch_size counts.json"""

import os
import sys

import counted
import torch
from accelerate import Accelerator
from torch.utils.data.distributed import DistributedSampler

batch_size, counts = int(sys.argv[1]), sys.argv[2]
accelerator = Accelerator()
model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
data = torch.utils.data.TensorDataset(torch.randn(4096, 16, generator=torch.Generator()))
ranks, rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
sampler = DistributedSampler(data, num_replicas=ranks, rank=rank)
loader = torch.utils.data.DataLoader(data, batch_size=batch_size, sampler=sampler)
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
sizes = counted.counting(model.module)
seen = []
for (x,) in loader:
    seen += x[:, 0].tolist()
    with accelerator.accumulate(model):
        loss = model(x.to(next(model.parameters()).dtype)).pow(2).mean()
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
    if model.global_steps == 5:
        break
samples = [None] * ranks
torch.distributed.all_gather_object(samples, seen)
counted.write(counts, model, sizes, samples=samples)
counted.end()
