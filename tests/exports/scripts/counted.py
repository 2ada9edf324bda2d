"""What an engine was given and did, counted while it trains."""

import json
import os

import torch


def counting(module):
    """Sizes of the micro-batches that reach ``module``, in order, while it trains."""
    sizes = []

    def note(module, given, named):
        sizes.append(len(given[0] if given else named["input_ids"]))

    module.register_forward_pre_hook(note, with_kwargs=True)
    return sizes


def write(path, engine, sizes, **more):
    """Rank 0's, as JSON."""
    if int(os.environ["RANK"]) == 0:
        counted = {
            "micro_batch": engine.train_micro_batch_size_per_gpu(),
            "accumulation": engine.gradient_accumulation_steps(),
            "global_batch": engine.train_batch_size(),
            "optimizer_steps": engine.global_steps,
            "seen_micro_batches": sizes,
            "bf16": engine.bfloat16_enabled(),
            "stage": engine.zero_optimization_stage(),
            "clipping": engine.gradient_clipping(),
        }
        with open(path, "w") as file:
            json.dump(counted | more, file)


def end():
    """All ranks at once, without the teardown in which gloo's threads may abort a rank whose peer is gone."""
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    os._exit(0)
