"""The hardware that is explained: what is there, or what was described and need not be there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from sweeper.core.judgement import Node
from sweeper.core.machine import Machine
from sweeper.core.memory_limit import host_memory_bytes
from sweeper.core.settings import Settings
from sweeper.run.machine import device_count, quick_look, thorough_look


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """``machine`` is what other settings, with more ranks perhaps, would run on."""

    imagined: bool
    machine: Callable[[Settings], Machine]

    def node(self, settings: Settings) -> Node:
        """Described ones have as many ranks as a node is said to have; here all are on this host."""
        ranks = settings.hardware.ranks
        if not self.imagined:
            host_bytes = host_memory_bytes(settings, self.machine(settings))
            return Node(nodes=1, ranks=ranks, host_bytes=host_bytes)
        on_node = settings.hardware.ranks_on_node
        return Node(
            nodes=-(-ranks // on_node),
            ranks=on_node,
            host_bytes=settings.hardware.host_memory_bytes,
        )


def hardware_of(settings: Settings) -> Hardware:
    """A GPU is described by its memory, a CPU by its host's."""
    described, here = settings.hardware, quick_look()
    if described.accelerator == "cpu":
        return Hardware(
            imagined=described.host_memory is not None,
            machine=lambda changed: replace(
                here,
                host_memory_bytes=changed.hardware.host_memory_bytes or here.host_memory_bytes,
            ),
        )
    if described.device_memory is not None:
        gpus = replace(
            here,
            cores=described.host_cores or here.cores,
            device_name=described.device_name,
            device_memory_bytes=described.device_memory_bytes,
            bf16=True,
            fp16=True,
            libaio=None,
        )
        return Hardware(
            imagined=True, machine=lambda changed: replace(gpus, devices=changed.hardware.ranks)
        )
    found = thorough_look("cuda")[0] if device_count() else replace(here, devices=0)
    return Hardware(imagined=False, machine=lambda changed: found)
