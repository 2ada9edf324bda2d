"""What to type instead of settings that cannot be run, as ``explain`` proposes it."""

from __future__ import annotations

from sweeper.core.ladders import Change
from sweeper.core.memory_limit import DEVICE, HOST, memory_limit
from sweeper.core.nearest_layout import nearest_layouts
from sweeper.core.plan import plan, refusals
from sweeper.core.settings import Scalar, Settings, with_values
from sweeper.core.what_fits import shorter_sequence, sufficient_changes, sufficient_limit
from sweeper.hydra_edge.explain import needs_of
from sweeper.hydra_edge.explain_hardware import hardware_of
from sweeper.run.model_profile import profile_of

_MOST = 3  # proposals in one line


def would_run(settings: Settings) -> tuple[str, ...]:
    """Each is enough by itself; none where nothing is known to help."""
    hardware = hardware_of(settings)

    def num_refusals(changed: Settings) -> int:
        machine = hardware.machine(changed)
        return len(tuple(refusals(plan(changed, machine).settings, machine)))

    if num_refusals(settings):
        held = _within_positions(settings)
        if held is not None and not num_refusals(with_values(settings, held)):
            return tuple(f"{name}={value}" for name, value in held.items())
        return tuple(map(_typed, nearest_layouts(settings, num_refusals)[:_MOST]))
    profile = profile_of(settings).profile
    if profile is None:
        return ()
    need = needs_of(hardware, profile)
    found = sufficient_changes(settings, need)
    answers = found.answers[:_MOST]
    if answers:
        return tuple(_typed(answer.changes) for answer in answers)
    if found.closest is not None and (shorter := shorter_sequence(found.closest.settings, need)):
        return (_typed((*found.closest.changes, *shorter.changes)),)
    limit = memory_limit(settings, hardware.machine(settings))
    if limit is None or limit.set_by in (DEVICE, HOST):
        return ()
    larger = sufficient_limit(settings, limit.set_by, need)
    return () if larger is None else (_typed(larger.changes),)


def _within_positions(settings: Settings) -> dict[str, Scalar] | None:
    """A sequence as long as the model has positions for, where it is longer."""
    positions = settings.model.get("max_positions")
    if not isinstance(positions, int) or not 0 < positions < settings.workload.sequence_length:
        return None
    return {"workload.sequence_length": positions}


def _typed(changes: tuple[Change, ...]) -> str:
    return " ".join(change.typed for change in changes)
