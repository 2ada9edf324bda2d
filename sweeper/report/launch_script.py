"""``best/launch.sh``: starts a script of the user's own as the winner's trial was started."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from sweeper.run.launch import STEADY_ALLOCATOR


def launch_script(settings: Mapping[str, Any], *, title: str) -> str:
    """``settings`` are those of ``core.exported``; ``title`` says whose they are."""
    hardware, launch = settings["hardware"], settings["launch"]
    ranks, on_cpu = int(hardware["ranks"]), hardware["accelerator"] == "cpu"
    lines = [
        "#!/bin/sh",
        f"# Starts a training script as {_comment(title)} was started:",
        "#   launch.sh train.py --its arguments",
        "# Words before the script are DeepSpeed's launcher's: --master_port=29501, --no_local_rank.",
        "set -eu",
        f"export DS_ACCELERATOR={shlex.quote(hardware['accelerator'])}",
    ]
    if on_cpu:
        lines.append(f"export LOCAL_SIZE={ranks}")
        lines += [f'export {name}="${{{name}:-{v}}}"' for name, v in STEADY_ALLOCATOR.items()]
    if launch["omp_threads"]:
        lines.append(f"export OMP_NUM_THREADS={int(launch['omp_threads'])}")
    elif on_cpu:
        lines += [
            'if [ -z "${OMP_NUM_THREADS:-}" ]; then  # an equal share of the cores',
            f"    OMP_NUM_THREADS=$(($(nproc) / {ranks}))",
            '    [ "$OMP_NUM_THREADS" -ge 1 ] || OMP_NUM_THREADS=1',
            "fi",
            "export OMP_NUM_THREADS",
        ]
    if launch["cuda_allocator"]:
        lines.append(f"export PYTORCH_CUDA_ALLOC_CONF={shlex.quote(launch['cuda_allocator'])}")
    lines.append(f"devices=--num_gpus={ranks}")
    if not on_cpu:
        lines += [
            'if [ -n "${CUDA_VISIBLE_DEVICES:-}" ]; then  # --num_gpus would drop it',
            f'    devices=--include=localhost:$(echo "$CUDA_VISIBLE_DEVICES" | cut -d , -f -{ranks})',
            "fi",
        ]
    bind = ""
    if launch["bind_cores"]:
        lines.append("# Binding needs numactl; it sets OMP_NUM_THREADS to the cores of a rank.")
        bind = "--bind_cores_to_rank "
    lines.append(f'exec deepspeed --hostfile=none "$devices" {bind}"$@"')
    return "\n".join(lines) + "\n"


def _comment(text: str) -> str:
    return " ".join(text.split())
