"""What to type instead of settings that cannot be run, as ``explain`` proposes it."""

from __future__ import annotations

from sweeper.core.ladders import Change
from sweeper.core.nearest_layout import nearest_layouts
from sweeper.core.plan import plan, refusals
from sweeper.core.settings import Settings
from sweeper.core.what_fits import shorter_sequence, sufficient_changes
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
        return tuple(map(_typed, nearest_layouts(settings, num_refusals)[:_MOST]))
    profile = profile_of(settings).profile
    if profile is None:
        return ()
    need = needs_of(hardware, profile)
    found = sufficient_changes(settings, need)
    answers = found.answers[:_MOST]
    if not answers and found.closest is not None:
        shorter = shorter_sequence(found.closest.settings, need)
        both = () if shorter is None else (*found.closest.changes, *shorter.changes)
        return (_typed(both),) if both else ()
    return tuple(_typed(answer.changes) for answer in answers)


def _typed(changes: tuple[Change, ...]) -> str:
    return " ".join(change.typed for change in changes)
