"""Lets two trainings take their steps in turn, so that what disturbs the machine disturbs both alike.

A runner waits at the start of each step until it is handed the baton: it says that it has arrived in
one named pipe and waits for a line in another.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


class Runner:
    """The end of one training's pipes that stands in the benchmark."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / name
        os.mkfifo(self.path.with_suffix(".arrived"))
        os.mkfifo(self.path.with_suffix(".go"))
        # Both ways at once: opening a named pipe would otherwise wait for the other side.
        self._arrived = os.open(self.path.with_suffix(".arrived"), os.O_RDWR)
        self._go = os.open(self.path.with_suffix(".go"), os.O_RDWR)

    def wait(self) -> None:
        """Until it stands at the start of a step."""
        os.read(self._arrived, 1)

    def hand_over(self) -> None:
        """Lets it take one step."""
        os.write(self._go, b".")

    def close(self) -> None:
        os.close(self._arrived)
        os.close(self._go)


def build(*, baton: str, **shape: Any) -> Any:
    """GPT-2 in a sweeper's trial whose steps wait for the baton, before their clock starts."""
    from types import SimpleNamespace

    from deepspeed import comm as dist

    from models import gpt2
    from sweeper.worker import steps

    arrived = os.open(f"{baton}.arrived", os.O_RDWR)
    go = os.open(f"{baton}.go", os.O_RDWR)

    def barrier() -> None:
        if dist.get_rank() == 0:
            os.write(arrived, b".")
            os.read(go, 1)
        dist.barrier()

    steps.dist = SimpleNamespace(barrier=barrier, broadcast=dist.broadcast)
    return gpt2.build(**shape)
