"""A driver that is not there: nvidia-smi as it answers on real machines, and libraries that only count."""

import os
import subprocess
from pathlib import Path

EIGHT_H100 = "".join(
    f"GPU {n}: NVIDIA H100 80GB HBM3 (UUID: GPU-{n}f2e1a00-1111-2222-3333-44445555666{n})\n"
    for n in range(8)
)
CUT_A100 = """GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-aaaa0000-1111-2222-3333-444455556666)
  MIG 3g.40gb     Device  0: (UUID: MIG-11110000-1111-5222-9333-444455556666)
  MIG 3g.40gb     Device  1: (UUID: MIG-22220000-1111-5222-9333-444455556666)
GPU 1: NVIDIA A100-SXM4-80GB (UUID: GPU-bbbb0000-1111-2222-3333-444455556666)
"""
MIXED = """GPU 0: Quadro K620 (UUID: GPU-cccc0000-1111-2222-3333-444455556666)
GPU 1: NVIDIA GeForce RTX 4090 (UUID: GPU-dddd0000-1111-2222-3333-444455556666)
"""
MISMATCH = (
    "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.95\n"
)
NO_DRIVER = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest"
    " NVIDIA driver is installed and running.\n"
)


def nvidia_smi(folder: Path, listing: str = "", *, code: int = 0, seconds: float = 0, **queries):
    """Puts one into ``folder``, which is then to stand first on PATH; returns the folder.

    ``queries`` are answers by the first field that is asked for behind ``--query-``: ``gpu="0, 81559"``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cases = "".join(
        f"    --query-{name.replace('_', '-')}=*) cat '{_text(folder, name, text)}' ;;\n"
        for name, text in queries.items()
    )
    script = folder / "nvidia-smi"
    script.write_text(
        f"#!/bin/sh\nsleep {seconds}\n"
        f"case \"$1\" in\n{cases}    *) cat '{_text(folder, 'listing', listing)}' ;;\nesac\nexit {code}\n"
    )
    script.chmod(0o755)
    return folder


def _text(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.txt"
    path.write_text(text)
    return path


_SOURCE = """
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static pid_t first = 0;
static int asked(const char *what) {
    const char *path = getenv("STUB_LOG");
    FILE *log = path ? fopen(path, "a") : NULL;
    if (log) { fprintf(log, "%s %d\\n", what, (int)getpid()); fclose(log); }
    if (!first) first = getpid();
    return first == getpid() ? 0 : REFUSED;
}
"""
# What is initialised in a process is not, in a fork of it: 3 is CUDA_ERROR_NOT_INITIALIZED, 999 NVML's unknown error.
_LIBRARIES = {
    "libcuda.so.1": (3, 'int cuInit(unsigned flags) { return asked("cuInit"); }'),
    "libnvidia-ml.so.1": (
        999,
        'int nvmlInit(void) { return asked("nvmlInit"); }\n'
        'int nvmlInit_v2(void) { return asked("nvmlInit"); }\n'
        "int nvmlDeviceGetCount_v2(int *n) { *n = 1; return 0; }",
    ),
}


def libraries(folder: Path) -> Path:
    """libcuda and libnvidia-ml, which note who initialises them and refuse a fork of who did."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (refused, functions) in _LIBRARIES.items():
        source = folder / f"{name}.c"
        source.write_text(_SOURCE + functions + "\n")
        subprocess.run(
            ["gcc", "-shared", "-fPIC", f"-DREFUSED={refused}", "-o", folder / name, source],
            check=True,
        )
    return folder


def first_on_path(folder: Path) -> str:
    """For PATH."""
    return os.pathsep.join([str(folder), os.environ["PATH"]])
