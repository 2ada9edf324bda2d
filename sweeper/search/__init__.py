"""The search: which point comes next."""

import os

# The parent's arithmetic is small. Threads for it would only take cores from the ranks, so numpy's
# library is loaded with one; the trials' processes do not inherit that.
_THREADS = "OPENBLAS_NUM_THREADS"
_before = os.environ.get(_THREADS)
os.environ[_THREADS] = "1"
import numpy as np  # noqa: E402, F401

if _before is None:
    del os.environ[_THREADS]
else:
    os.environ[_THREADS] = _before
