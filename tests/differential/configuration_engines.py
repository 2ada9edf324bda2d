"""One rank that makes an engine for each configuration in a file, and tells what they are."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import deepspeed
import torch
from deepspeed import comm as dist

from sweeper.core.script_config import without_side_effects
from sweeper.core.spec import TrialSpec
from sweeper.worker.ds_resolved import resolve
from sweeper.worker.engine_facts import facts_of_engine
from sweeper.worker.ops import adopt_built_ops
from sweeper.worker.script.substitution import Substitution


def told(asked: dict[str, Any]) -> dict[str, Any]:
    """``unchanged``: the configuration is the user's own, literally."""
    own = asked["own"]
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 1))
    client = None if "optimizer" in own else torch.optim.AdamW(model.parameters(), lr=1e-3)
    try:
        given = own
        if "spec" in asked:
            given = Substitution(TrialSpec.from_json(asked["spec"]))(own, client=client)
        engine, *_ = deepspeed.initialize(
            model=model,
            optimizer=client,
            model_parameters=None if client else model.parameters(),
            config=without_side_effects(given)[0],
        )
    except Exception as error:
        return {"refused": f"{type(error).__name__}: {str(error).splitlines()[0:1]}"}
    seen = facts_of_engine(engine)
    engine.destroy()
    return {
        "refused": "",
        "given": given,
        "unchanged": given == own,
        "facts": {
            "resolved": resolve(own).to_json(),
            "engine": seen,
            "micro_size": seen["batch.micro_size"],
            "accumulation_steps": seen["accumulation steps"],
            "data_parallel": seen["data-parallel ranks"],
            "dtypes": seen["dtypes"],
        },
    }


def main(file: Path) -> None:
    """Rank 0 writes the answers beside it."""
    adopt_built_ops(("ShareMemCommBuilder",))
    deepspeed.init_distributed(dist_backend="gloo")
    answers = []
    for asked in json.loads(file.read_text()):
        answers.append(told(asked))
        dist.barrier()
    if dist.get_rank() == 0:
        file.with_suffix(".out").write_text(json.dumps(answers))
    dist.barrier()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
