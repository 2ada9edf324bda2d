"""A mistake of our own: told apart from one in the user's code, and its traceback kept in a file."""

from __future__ import annotations

import os
import platform
import shlex
import site
import sys
import sysconfig
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from sweeper.errors import masked
from sweeper.places import cache_dir, conf_dir, import_root, models_dir


def is_ours(error: BaseException) -> bool:
    """Whether no code of the user's own was running: a hook, a factory, a sampler or a callback of theirs."""
    ours = [import_root() / "sweeper", import_root() / "hydra_plugins", models_dir(), conf_dir()]
    paths = sysconfig.get_paths()
    installed = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    places = [*map(str, ours), *installed, *site.getsitepackages(), site.getusersitepackages()]
    known = tuple(os.path.realpath(place) + os.sep for place in places)
    chain: list[BaseException] = []
    below: BaseException | None = error
    while below is not None and below not in chain:
        chain.append(below)
        below = below.__cause__ or below.__context__
    files = {f.filename for each in chain for f in traceback.extract_tb(each.__traceback__)}
    return all(
        name.startswith("<") or os.path.realpath(name).startswith(known) or _is_main(name)
        for name in files
    )


def _is_main(name: str) -> bool:
    """The installed command itself."""
    return os.path.realpath(name) == os.path.realpath(sys.argv[0])


def kept_traceback(error: BaseException, arguments: Sequence[str]) -> Path | None:
    """Where it is; None where nothing can be written. No password is in it."""
    from sweeper import __version__

    text = "".join(traceback.format_exception(error))
    head = f"sweeper {__version__}, Python {platform.python_version()}: {shlex.join(arguments)}"
    path = cache_dir() / "errors" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(masked(f"{head}\n\n{text}"), encoding="utf-8", errors="backslashreplace")
    except OSError:
        return None
    return path
