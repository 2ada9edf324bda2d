"""Of every value that the winner does not have: what the nearest trial with it gave, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from sweeper.core.finalists import FinalistsResult
from sweeper.core.outcome import measurement_of
from sweeper.core.rules import FORBIDDEN
from sweeper.core.settings import settings_from_flat, with_values
from sweeper.core.trial import Trial
from sweeper.errors import SweeperError
from sweeper.places import conf_dir
from sweeper.report.effects import Compared, Neighbourhoods, compared, middle
from sweeper.report.knobs import Knobs

# A group of the user's own, a model's argument, a value that is no setting's, settings of another version.
_CANNOT_TELL = (
    *(SweeperError, OSError, yaml.YAMLError),
    *(KeyError, TypeError, AttributeError, ValueError, ArithmeticError),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """``nearest`` is the measured trial with it that differs least from the winner, ``also`` in what else.

    ``elsewhere``: between two other trials that differ in this alone. ``failed`` is a trial with it
    that is nearer still, and was not measured. ``forbidden``: why the winner cannot have it.
    """

    knob: str
    value: str
    own: str
    nearest: Compared | None
    also: tuple[str, ...]
    elsewhere: Compared | None
    failed: Trial | None
    forbidden: str


def alternatives(
    winner: Trial, trials: Sequence[Trial], knobs: Knobs, finals: FinalistsResult | None
) -> list[Alternative]:
    """By option, in the order of its values."""
    groups = Neighbourhoods(trials, knobs)
    return [
        _alternative(name, value, own, winner, trials, knobs, groups, finals)
        for name, own in knobs.values[winner.number].items()
        for value in knobs.choices[name]
        if value != own
    ]


def _alternative(
    name: str,
    value: str,
    own: str,
    winner: Trial,
    trials: Sequence[Trial],
    knobs: Knobs,
    groups: Neighbourhoods,
    finals: FinalistsResult | None,
) -> Alternative:
    having = [t for t in trials if knobs.value(t, name) == value]
    measured = nearest(winner, [t for t in having if _rate(t)], knobs)
    closest = nearest(winner, having, knobs)
    also = [n for n in knobs.differing(measured, winner) if n != name] if measured else []
    pairs = [p for a, b in groups.pairs(name, value, own) if (p := compared(a, b, finals))]
    return Alternative(
        knob=name,
        value=value,
        own=own,
        nearest=compared(measured, winner, finals) if measured else None,
        also=tuple(also),
        elsewhere=middle(pairs) if also and pairs else None,
        failed=closest if closest is not None and not _rate(closest) else None,
        forbidden=forbidden(name, value, winner, having, knobs),
    )


def nearest(trial: Trial, others: Sequence[Trial], knobs: Knobs) -> Trial | None:
    """The one with the fewest other options; of several the fastest."""
    return min(others, key=lambda t: (len(knobs.differing(t, trial)), -_rate(t)), default=None)


def _rate(trial: Trial) -> float:
    m = measurement_of(trial.outcome)
    return m.tokens_per_second if m is not None else 0.0


def forbidden(name: str, value: str, winner: Trial, having: Sequence[Trial], knobs: Knobs) -> str:
    """Which rule forbids it beside the winner's other settings; "" where none does, or nobody can tell.

    ``having`` are the trials that have it.
    """
    try:
        own = settings_from_flat(winner.settings)
        changed = with_values(own, _settings_of(name, value, having, knobs))
        rule = next((rule for rule in FORBIDDEN if rule.applies(changed)), None)
        return "" if rule is None else rule.reason(changed)
    except _CANNOT_TELL:
        return ""


def _settings_of(name: str, value: str, having: Sequence[Trial], knobs: Knobs) -> Mapping[str, Any]:
    """As a trial that has it has them, else as they are typed or stand in conf/."""
    if having and knobs.settings[name]:
        return {setting: having[0].settings.get(setting) for setting in knobs.settings[name]}
    if "." in name:
        return {name: yaml.safe_load(value)}
    document = yaml.safe_load((conf_dir() / name / f"{value}.yaml").read_text(encoding="utf-8"))
    return {f"{name}.{setting}": own for setting, own in document.items()}
