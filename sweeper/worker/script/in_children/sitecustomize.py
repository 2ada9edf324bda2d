"""Runs at the start of every Python that a script under trial starts; then the user's own of this name."""

import contextlib
import os
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [place for place in sys.path if os.path.abspath(place) != _HERE]

with contextlib.suppress(Exception):  # another Python, without what we need
    from sweeper.worker.script.children import watch_as_child

    watch_as_child()

_spec = PathFinder.find_spec("sitecustomize", sys.path)
if _spec is not None and _spec.loader is not None:
    sys.modules["sitecustomize"] = _module = module_from_spec(_spec)
    _spec.loader.exec_module(_module)
