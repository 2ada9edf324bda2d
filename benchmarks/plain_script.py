"""A plain DeepSpeed training, as a user would write it; imports nothing of the sweeper.

``deepspeed plain_script.py ds_config.json OUT.json STEPS SHAPE_JSON LENGTH BATON``
"""

import json
import os
import sys
import time
from pathlib import Path

import deepspeed
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from models.gpt2 import build

config_path, out, steps, shape, length, baton = sys.argv[1:]
config = json.loads(Path(config_path).read_text())
deepspeed.init_distributed()
torch.manual_seed(0)
model = build(**json.loads(shape))
engine, *_ = deepspeed.initialize(
    model=model, model_parameters=model.parameters(), config=config_path
)
rank = deepspeed.comm.get_rank()
micro = config["train_micro_batch_size_per_gpu"]
accumulation = config["gradient_accumulation_steps"]
generator = torch.Generator().manual_seed(rank)
arrived, go = (os.open(f"{baton}.{pipe}", os.O_RDWR) for pipe in ("arrived", "go"))
seconds = []
for _ in range(int(steps)):
    if rank == 0:
        os.write(arrived, b".")
        os.read(go, 1)
    deepspeed.comm.barrier()
    start = time.perf_counter()
    for _ in range(accumulation):
        tokens = torch.randint(0, model.vocab_size, (micro, int(length) + 1), generator=generator)
        loss = engine(tokens)
        engine.backward(loss)
        engine.step()
    seconds.append(time.perf_counter() - start)
if rank == 0:
    Path(out).write_text(json.dumps(seconds))
