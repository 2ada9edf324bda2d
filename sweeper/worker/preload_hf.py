"""What the forkserver loads beside the rest for Hugging Face architectures: importing it is its work."""

from __future__ import annotations

import gc

from sweeper.core.settings import HUGGING_FACE
from sweeper.worker.building import function_named

build = function_named(HUGGING_FACE)
gc.collect()
gc.freeze()
