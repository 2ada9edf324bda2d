"""The launch scripts of a winner: a script of the user's own started as the trial was started."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from sweeper.core.start import LAUNCHERS_LOCAL_RANK
from sweeper.run.launch import STEADY_ALLOCATOR

_SHELL = ["#!/bin/sh"]
# Asked of the interpreter that trains, on the machine that trains: elsewhere there are none, or others.
_BUILT_OPS = [
    'if [ -z "${TORCH_EXTENSIONS_DIR:-}" ]; then',
    "    built=$(python -c 'from sweeper.places import extensions_dir; print(extensions_dir())' "
    "2> /dev/null) || built=",
    '    if [ -d "$built" ]; then export TORCH_EXTENSIONS_DIR="$built"; fi',
    "fi",
]


def deepspeed_script(settings: Mapping[str, Any], local_rank: str | None = None) -> str:
    """Under DeepSpeed's launcher; ``settings`` are those of ``core.exported``, here and below.

    ``local_rank`` is the option by which the script is to be given its rank on the machine, if by any.
    """
    ranks = int(settings["hardware"]["ranks"])
    lines = [*_SHELL, *_environment(settings), f"devices=--num_gpus={ranks}"]
    if settings["hardware"]["accelerator"] != "cpu":
        lines += [  # --num_gpus would drop what may be seen
            'if [ -n "${CUDA_VISIBLE_DEVICES:-}" ]; then',
            f'    devices=--include=localhost:$(echo "$CUDA_VISIBLE_DEVICES" | cut -d , -f -{ranks})',
            "fi",
        ]
    bind = "--bind_cores_to_rank " if settings["launch"]["bind_cores"] else ""
    # A script need not take --local_rank, which the launcher would add; its environment has it.
    unasked = "" if local_rank == LAUNCHERS_LOCAL_RANK else "--no_local_rank "
    lines.append(f'exec deepspeed --hostfile=none "$devices" {bind}{unasked}"$@"')
    return _text(lines)


def torchrun_script(settings: Mapping[str, Any], local_rank: str | None = None) -> str:
    """Under torchrun, on one machine."""
    command = _torchrun(settings, local_rank)
    return _text([*_SHELL, *_torchrun_environment(settings), f"exec {command}"])


def slurm_script(settings: Mapping[str, Any], local_rank: str | None = None) -> str:
    """For ``sbatch``: torchrun on one node that nobody else is on, so that no ssh is needed."""
    ranks, on_cpu = settings["hardware"]["ranks"], settings["hardware"]["accelerator"] == "cpu"
    lines = [
        *_SHELL,
        "#SBATCH --nodes=1",
        "#SBATCH --ntasks-per-node=1",
        "#SBATCH --exclusive",
        *([] if on_cpu else [f"#SBATCH --gpus-per-node={int(ranks)}"]),
        *_torchrun_environment(settings),
        # srun gives a task one core unless it is told.
        'exec srun --nodes=1 --ntasks=1 --cpus-per-task="$SLURM_CPUS_ON_NODE" '
        + _torchrun(settings, local_rank),
    ]
    return _text(lines)


def _torchrun(settings: Mapping[str, Any], local_rank: str | None) -> str:
    command = f"torchrun --standalone --nproc_per_node={int(settings['hardware']['ranks'])}"
    if local_rank is None:
        return f'{command} "$@"'
    rank = f'{local_rank}="$LOCAL_RANK" "$@"'
    ranked = (
        f'script=$1; shift; if [ "$script" = -m ]; then module=$1; shift; exec python -u -m "$module" {rank}; '
        f'fi; exec python -u "$script" {rank}'
    )
    return f'{command} --no-python sh -c {shlex.quote(ranked)} sh "$@"'


def _torchrun_environment(settings: Mapping[str, Any]) -> list[str]:
    lines = _environment(settings)
    if settings["hardware"]["accelerator"] != "cpu" and not settings["launch"]["omp_threads"]:
        # torchrun would make it one thread, of which an offloaded optimizer has too little.
        lines.append('export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$(nproc)}"')
    return lines


def _environment(settings: Mapping[str, Any]) -> list[str]:
    hardware, launch = settings["hardware"], settings["launch"]
    ranks, on_cpu = int(hardware["ranks"]), hardware["accelerator"] == "cpu"
    lines = ["set -eu", f"export DS_ACCELERATOR={shlex.quote(hardware['accelerator'])}"]
    if on_cpu:
        lines.append(f"export LOCAL_SIZE={ranks}")
        lines += [f'export {name}="${{{name}:-{v}}}"' for name, v in STEADY_ALLOCATOR.items()]
    if launch["omp_threads"]:
        lines.append(f"export OMP_NUM_THREADS={int(launch['omp_threads'])}")
    elif on_cpu:
        lines += [
            'if [ -z "${OMP_NUM_THREADS:-}" ]; then',
            f"    OMP_NUM_THREADS=$(($(nproc) / {ranks}))",
            '    [ "$OMP_NUM_THREADS" -ge 1 ] || OMP_NUM_THREADS=1',
            "fi",
            "export OMP_NUM_THREADS",
        ]
    if launch["cuda_allocator"]:
        lines.append(f"export PYTORCH_CUDA_ALLOC_CONF={shlex.quote(launch['cuda_allocator'])}")
    return [*lines, *_BUILT_OPS]


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
