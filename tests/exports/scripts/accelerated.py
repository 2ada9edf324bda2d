"""An Accelerate loop: python accelerated.py batch_size counts.json"""

import sys

import counted
import torch
from accelerate import Accelerator

batch_size, counts = int(sys.argv[1]), sys.argv[2]
accelerator = Accelerator()
model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
data = torch.utils.data.TensorDataset(torch.randn(4096, 16, generator=torch.Generator()))
loader = torch.utils.data.DataLoader(data, batch_size=batch_size)
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
sizes = counted.counting(model.module)
for (x,) in loader:
    with accelerator.accumulate(model):
        loss = model(x.to(next(model.parameters()).dtype)).pow(2).mean()
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
    if model.global_steps == 5:
        break
counted.write(counts, model, sizes)
counted.end()
