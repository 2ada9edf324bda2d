"""What ``doctor`` says of DeepSpeed's compiled ops: built, or buildable and by what; of locks in the way."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper.core.finding import Finding, failure, ok, warning
from sweeper.places import extensions_dir
from sweeper.run.doctor.tools import Tool
from sweeper.run.ops import LIBRARIES, stale_locks

_INSTALL_LIBAIO = (
    "type apt-get install libaio-dev (Fedora: dnf install libaio-devel, Arch: pacman -S libaio)"
)
# Those that are linked with it.
_NEED_LIBAIO = ("AsyncIOBuilder",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """``nvcc_release`` is None where there is no nvcc."""

    compiler: Tool
    ninja: Tool
    nvcc_release: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpsKnown:
    """``needed`` are the builders of the default study, ``built`` those whose op is there.

    ``builders`` and ``cuda`` are what the worker tells, empty where torch does not start;
    ``libaio`` is None where nothing could be compiled to find out.
    """

    accelerator: str
    needed: Sequence[str]
    built: frozenset[str]
    builders: Mapping[str, Any]
    cuda: Mapping[str, Any]
    libaio: bool | None


def tool_findings(tools: Toolchain, known: OpsKnown) -> Iterator[Finding]:
    """Compiler, ninja and nvcc: a failure where an op of the default study waits for them."""
    waiting = [LIBRARIES[name] for name in known.needed if not _is_there(name, known)]
    for name, tool in (("compiler", tools.compiler), ("ninja", tools.ninja)):
        if tool.works:
            yield ok(name, tool.found)
        elif waiting:
            built = f"the default study needs {', '.join(waiting)} built"
            yield failure(name, f"{tool.found}; {built}", tool.advice)
        else:
            built = "what the default study needs is built, other ops cannot be"
            yield warning(name, f"{tool.found}; {built}", tool.advice)
    yield _nvcc(tools.nvcc_release, known)


def _nvcc(release: str | None, known: OpsKnown) -> Finding:
    torch_cuda, refused = known.cuda.get("torch_cuda"), known.cuda.get("refused")
    there = f"release {release}" if release else "there is none"
    if known.accelerator != "cuda":
        return ok("nvcc", f"{there}; not needed on the CPU")
    if torch_cuda is None:
        return warning(
            "nvcc",
            f"{there}; torch is built without CUDA",
            "install a torch that is built for CUDA: type pip install --force-reinstall torch",
        )
    if not refused:
        return ok("nvcc", f"{there}, torch is built for CUDA {torch_cuda}")
    wanted = ".".join(str(torch_cuda).split(".")[:2])
    beside = Path(f"/usr/local/cuda-{wanted}")
    install = "" if beside.is_dir() else f"install the CUDA toolkit {wanted}; "
    return warning(
        "nvcc",
        f"{there}, torch is built for CUDA {torch_cuda}; DeepSpeed compiles nothing for CUDA so",
        f"{install}type export CUDA_HOME={beside}",
    )


def libaio_finding(tools: Toolchain, known: OpsKnown, *, seen: bool) -> Finding:
    """``seen``: a file of its name lies where a linker looks."""
    if known.libaio:
        return ok("libaio", "found, and links")
    without = "trials that offload to NVMe are not possible"
    if not seen:
        return warning("libaio", f"not found: {without}", _INSTALL_LIBAIO)
    if not tools.compiler.works:
        return warning(
            "libaio",
            "a file of its name is there; without a compiler nothing is linked with it",
            tools.compiler.advice,
        )
    return warning(
        "libaio",
        f"a file of its name is there, but nothing links with it: {without}",
        _INSTALL_LIBAIO,
    )


def op_findings(known: OpsKnown, ingredients: Sequence[Finding]) -> Iterator[Finding]:
    """One for each op that there is on this accelerator; ``ingredients`` are what the others gave."""
    bad = {finding.name: finding for finding in ingredients if finding.advice}
    for builder, library in LIBRARIES.items():
        if known.builders and known.builders.get(builder) is None:
            continue
        name, wants = f"op {library}", _ingredients(builder, known)
        lacking = [bad[ingredient] for ingredient in wants if ingredient in bad]
        if _is_there(builder, known):
            yield ok(name, "built")
        elif not lacking:
            by = f"{', '.join(wants[:-1])} and {wants[-1]}"
            yield ok(name, f"not built yet; {by} will do it when it is first needed")
        else:
            say = failure if builder in known.needed else warning
            found = f"not built, and cannot be without {', '.join(f.name for f in lacking)}"
            yield say(name, found, "; ".join(dict.fromkeys(f.advice for f in lacking)))


def _is_there(builder: str, known: OpsKnown) -> bool:
    told = known.builders.get(builder) or {}
    return builder in known.built or bool(told.get("installed"))


def _ingredients(builder: str, known: OpsKnown) -> list[str]:
    """The names of the findings that a build depends on."""
    needs_cuda = bool((known.builders.get(builder) or {}).get("cuda_toolkit"))
    return [
        *("compiler", "ninja"),
        *(["nvcc"] if needs_cuda else []),
        *(["libaio"] if builder in _NEED_LIBAIO else []),
    ]


def lock_findings() -> Iterator[Finding]:
    """Stale locks of our own builds, and of those that training scripts begin, which wait for ever."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    scripts = [*(Path(home) / "torch_extensions").glob("*")]
    if named := os.environ.get("TORCH_EXTENSIONS_DIR"):
        scripts.append(Path(named))
    folders = dict.fromkeys(path.resolve() for path in (extensions_dir(), *scripts))
    stale = [lock for folder in folders for lock in stale_locks(folder)]
    for lock in stale:
        yield warning(
            "op locks",
            f"{lock} is stale: the build that made it is dead, and the next one waits for it",
            f"type rm {lock}",
        )
    if not stale:
        yield ok("op locks", "none is stale")
