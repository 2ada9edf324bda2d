"""What an element of weights, gradients and states takes, and where it may lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sweeper.core.memory.share import Share
from sweeper.core.settings import Settings

NORM_BYTES = 8  # DeepSpeed's zero/utils.py, get_norm_dtype: norms are taken in float64
BUCKET = 500_000_000  # elements; the default of reduce_bucket_size
_BYTES = {"fp32": 4, "autocast_bf16": 4, "bf16": 2, "fp16": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Widths:
    """Bytes of an element."""

    weight: int
    gradient: int  # as it is summed
    master: int
    sent: int
    states: float  # of the optimizer, for one parameter
    update: float  # temporaries of the optimizer, for one parameter


def widths(settings: Settings, share: Share) -> Widths:
    """Of the precision, what gradients are summed and sent in, and the optimizer."""
    precision, offloaded = settings.precision, settings.offload.optimizer != "none"
    weight = _BYTES[precision.mode]
    sent = settings.comm.dtype
    if sent is None and settings.parallel.sequence > 1:
        sent = "fp32"  # config.py: seq_parallel_communication_data_type
    moment = 2 if precision.bf16_optimizer_states else 4
    return Widths(
        weight=weight,
        gradient=_BYTES[precision.grad_accum_dtype] if precision.grad_accum_dtype else weight,
        master=2 if precision.bf16_master_weights else 4,
        sent=_BYTES[sent] if sent else weight,
        states=_moments(settings, share) * moment,
        update=0 if offloaded else _temporaries(settings),
    )


def is_pinned(settings: Settings, what: Literal["optimizer", "params"]) -> bool:
    """Whether what is offloaded of it lies in page-locked memory, as ds_config.py asks for it."""
    offload, on_cuda = settings.offload, settings.hardware.accelerator == "cuda"
    pinned = on_cuda if offload.pin_memory is None else offload.pin_memory
    return pinned and getattr(offload, what) != "none"


def _moments(settings: Settings, share: Share) -> float:
    """Adam has two, Lion one; Muon one for matrices and leaves the tables to Adam."""
    match settings.optimizer.type:
        case "Lion":
            return 1.0
        case "Muon":
            return 1.0 + share.largest_parameter / max(share.parameters, 1)
    return 2.0


def _temporaries(settings: Settings) -> float:
    """torch/optim/adam.py: the denominator, once out of place for foreach and twice in the loop."""
    if settings.optimizer.type not in ("AdamW", "Adam"):
        return 0.0
    return {"foreach": 4.0, "plain": 8.0}.get(settings.optimizer.implementation, 0.0)
