"""What settings may be beside each other, and those of more than one number."""

from __future__ import annotations

from sweeper.core.settings import Settings
from sweeper.errors import UsageError

# The least must not be more than the most.
_PAIRS = (
    ("measure.min_steps", "measure.max_steps"),
    ("measure.min_warmup_steps", "measure.max_warmup_steps"),
)
# Samples and tokens are counted in 32 bits, where they are numbered; whole numbers in 64 by DeepSpeed.
_COUNTS = (
    *("batch.micro_size", "workload.global_batch_size", "workload.sequence_length"),
    *("hardware.ranks", "measure.max_steps", "measure.max_warmup_steps", "measure.breakdown_steps"),
)
_MOST_COUNTED, _MOST = 2**31 - 1, 2**63 - 1


def check_together(settings: Settings) -> None:
    """Raises UsageError naming what does not go together, and what to type."""
    flat = settings.flat()
    for name, given in flat.items():
        most = _MOST_COUNTED if name in _COUNTS else _MOST
        if isinstance(given, int) and given > most:
            raise UsageError(
                f"{name}={given}: must be at most {most}; type {name}={_example(name)}"
            )
    for least, largest in _PAIRS:
        if flat[least] > flat[largest]:
            raise UsageError(
                f"{least}={flat[least]} is more than {largest}={flat[largest]}; type "
                f"{largest}={flat[least]}, or {least}={flat[largest]}"
            )
    betas = settings.optimizer.betas
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        given = ",".join(f"{beta:g}" for beta in betas)
        raise UsageError(
            f"optimizer.betas=[{given}]: must be two numbers from 0 to below 1; type "
            "'optimizer.betas=[0.9,0.999]'"
        )


def _example(name: str) -> int:
    return 1024 if name == "workload.sequence_length" else 8
