"""Find, by short real training runs, the DeepSpeed configuration that trains a model fastest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["__version__", "load"]
__version__ = "0.1.0"

if TYPE_CHECKING:
    from sweeper.report.load import load
else:

    def __getattr__(name: str) -> Any:
        # pandas takes longer to import than most commands may take to answer.
        if name == "load":
            from sweeper.report.load import load

            return load
        raise AttributeError(f"module 'sweeper' has no attribute {name!r}")
