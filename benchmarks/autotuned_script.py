"""A plain DeepSpeed training, as users of DeepSpeed's autotuner write one.

Imports nothing of the sweeper. ``deepspeed autotuned_script.py --deepspeed
--deepspeed_config CONFIG.json --shape SHAPE_JSON --length LENGTH [--steps STEPS] [--out OUT.json]
[--baton PIPES]``: the seconds of each step go to OUT.json; each step waits for the baton, if given.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import deepspeed
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from models.gpt2 import build

parser = argparse.ArgumentParser()
parser.add_argument("--shape", type=json.loads)
parser.add_argument("--length", type=int)
parser.add_argument("--steps", type=int, default=100)  # the autotuner ends a trial after six
parser.add_argument("--out", type=Path)
parser.add_argument("--baton")
parser.add_argument("--local_rank", type=int)
args = deepspeed.add_config_arguments(parser).parse_args()

deepspeed.init_distributed()
torch.manual_seed(0)
model = build(**args.shape)
engine, *_ = deepspeed.initialize(args=args, model=model, model_parameters=model.parameters())
rank = deepspeed.comm.get_rank()
# From the engine: the autotuner changes them from trial to trial.
micro = engine.train_micro_batch_size_per_gpu()
accumulation = engine.gradient_accumulation_steps()
generator = torch.Generator().manual_seed(rank)
if args.baton:
    arrived, go = (os.open(f"{args.baton}.{pipe}", os.O_RDWR) for pipe in ("arrived", "go"))
seconds = []
for _ in range(args.steps):
    if args.baton and rank == 0:
        os.write(arrived, b".")
        os.read(go, 1)
    deepspeed.comm.barrier()
    start = time.perf_counter()
    for _ in range(accumulation):
        tokens = torch.randint(0, model.vocab_size, (micro, args.length + 1), generator=generator)
        loss = engine(tokens)
        engine.backward(loss)
        engine.step()
    seconds.append(time.perf_counter() - start)
if rank == 0 and args.out:
    args.out.write_text(json.dumps(seconds))
