"""What DeepSpeed's ops are built with: a compiler, ninja, and nvcc for those that run on CUDA."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeper.run.ops import build_path

TOOL_TIMEOUT_SECONDS = 8.0
# What every op includes, and flags that every op is compiled with.
_PROGRAM = "#include <omp.h>\n#include <vector>\n#include <Python.h>\nint main() { return 0; }\n"
_FLAGS = ("-fsyntax-only", "-fopenmp", "-x", "c++", "-I", sysconfig.get_paths()["include"], "-")
_NO_COMPILER = "type apt-get install g++ (Fedora: dnf install gcc-c++)"
_NO_PYTHON_H = "type apt-get install python3-dev (Fedora: dnf install python3-devel)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """``found`` is its version and place, or what is wrong; ``advice`` is empty where it works."""

    found: str
    advice: str = ""

    @property
    def works(self) -> bool:
        return not self.advice


def compiler() -> Tool:
    """The one that torch calls; it is given a program to read, and writes nothing."""
    named = os.environ.get("CXX", "")
    try:
        command = shlex.split(named) or ["c++"]
    except ValueError as error:
        return Tool(found=f"CXX={named}: {str(error).lower()}", advice="type unset CXX")
    path = shutil.which(command[0], path=build_path())
    if path is None:
        return Tool(found=f"there is no {command[0]} on PATH", advice=_NO_COMPILER)
    read = _run([path, *command[1:], *_FLAGS], text_in=_PROGRAM)
    if read.returncode != 0:
        errors = [line for line in read.stderr.splitlines() if "error" in line] or [read.stderr]
        missing = _NO_PYTHON_H if "Python.h" in read.stderr else _NO_COMPILER
        return Tool(found=f"{path} compiles nothing: {errors[0].strip()}", advice=missing)
    return Tool(found=f"{_first_line([path, *command[1:], '--version'])}, {path}")


def ninja() -> Tool:
    """What torch hands a build to."""
    path = shutil.which("ninja", path=build_path())
    if path is None:
        return Tool(found="there is no ninja on PATH", advice="type pip install ninja")
    return Tool(found=f"{_first_line([path, '--version'])}, {path}")


def nvcc_release() -> str | None:
    """``"12.8"``: the release of the nvcc that torch would call; None where there is none that runs."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    path = f"{home}/bin/nvcc" if home else shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    if not Path(path).is_file():
        return None
    release = re.search(r"release (\d+\.\d+)", _run([path, "--version"]).stdout)
    return release and release.group(1)


def _first_line(command: Sequence[str]) -> str:
    return (_run(command).stdout.strip().splitlines() or ["of unknown version"])[0]


def _run(command: Sequence[str], *, text_in: str = "") -> subprocess.CompletedProcess[str]:
    """A program that hangs, or cannot be started, has failed."""
    try:
        return subprocess.run(
            list(command),
            input=text_in,
            env={**os.environ, "PATH": build_path(), "LC_ALL": "C"},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TOOL_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        why = f"error: no answer within {TOOL_TIMEOUT_SECONDS:g} s"
    except OSError as error:
        why = f"error: {error.strerror}"
    return subprocess.CompletedProcess(list(command), returncode=-1, stdout="", stderr=why)
