"""The options in which the trials of a study differ, and which trials differ in what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeper.core.space import MAX_LISTED
from sweeper.core.trial import Trial

# What follows from other settings, or says how it was measured.
_NO_OPTION = ("precision.fp16_initial_scale_power", "measure.", "launch.timeout_", "launch.hang_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """``values``: trial number -> option -> its value as it is typed; an option that does not act is left out.

    ``choices`` are all values of an option, those that nobody tried too; ``settings`` which dotted
    settings an option sets, of those that vary.
    """

    settings: Mapping[str, tuple[str, ...]]
    choices: Mapping[str, tuple[str, ...]]
    values: Mapping[int, Mapping[str, str]]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.settings)

    def value(self, trial: Trial, name: str) -> str | None:
        """None where the option does not act."""
        return self.values[trial.number].get(name)

    def differing(self, one: Trial, other: Trial) -> list[str]:
        """The options that act in both and are not the same."""
        a, b = self.values[one.number], self.values[other.number]
        return [name for name in self.settings if name in a and name in b and a[name] != b[name]]


def knobs_of(trials: Sequence[Trial], space: Mapping[str, Any]) -> Knobs:
    """``space`` is study.yaml's; without one, as for a plain grid, the settings that vary are the options."""
    varying = _varying(trials)
    names = [name.lstrip("+") for name in space]
    settings = {name: _settings_of(name, names, varying) for name in names}
    covered = {s for owned in settings.values() for s in owned}
    settings |= {name: (name,) for name in varying if name not in covered}
    points = {
        t.number: {name.lstrip("+"): value for name, value in t.point.items()} for t in trials
    }
    labels = _labels(trials, settings, points)
    values = {
        t.number: {
            name: labels[name, _key(t, owned)]
            for name, owned in settings.items()
            if _acts(name, points[t.number], names)
        }
        for t in trials
    }
    return Knobs(settings=settings, choices=_choices(settings, space, values), values=values)


def _varying(trials: Sequence[Trial]) -> list[str]:
    first = trials[0].settings
    names = dict.fromkeys(name for trial in trials for name in trial.settings)
    return [
        name
        for name in names
        if not name.startswith(_NO_OPTION)
        and any(t.settings.get(name) != first.get(name) for t in trials)
    ]


def _settings_of(name: str, names: Sequence[str], varying: Iterable[str]) -> tuple[str, ...]:
    """A setting is its own; a group's are those beneath it that are no option themselves."""
    return tuple(s for s in varying if s == name or (s.startswith(f"{name}.") and s not in names))


def _acts(name: str, point: Mapping[str, str], names: Sequence[str]) -> bool:
    return name not in names or not point or name in point


def _key(trial: Trial, owned: Iterable[str]) -> tuple[str, ...]:
    return tuple(repr(trial.settings.get(name)) for name in owned)


def _labels(
    trials: Sequence[Trial],
    settings: Mapping[str, tuple[str, ...]],
    points: Mapping[int, Mapping[str, str]],
) -> dict[tuple[str, tuple[str, ...]], str]:
    """What was typed for the same settings, by whichever trial; else the settings themselves."""
    labels: dict[tuple[str, tuple[str, ...]], str] = {}
    for name, owned in settings.items():
        for trial in trials:
            if name in points[trial.number]:
                labels.setdefault((name, _key(trial, owned)), points[trial.number][name])
        for trial in trials:
            labels.setdefault((name, _key(trial, owned)), _in_words(trial, name, owned))
    return labels


def _in_words(trial: Trial, name: str, owned: Sequence[str]) -> str:
    shown = {n: shown_value(trial.settings.get(n)) for n in owned}
    if list(shown) == [name]:
        return shown[name]
    return ", ".join(f"{n.removeprefix(f'{name}.')}={value}" for n, value in shown.items())


def shown_value(value: Any) -> str:
    """As a person reads a setting; a null one is left to DeepSpeed."""
    if value is None:
        return "default"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _choices(
    settings: Mapping[str, tuple[str, ...]],
    space: Mapping[str, Any],
    values: Mapping[int, Mapping[str, str]],
) -> dict[str, tuple[str, ...]]:
    given = {
        name.lstrip("+"): [str(v) for v in listed]
        for name, listed in space.items()
        if isinstance(listed, list) and len(listed) < MAX_LISTED
    }
    return {
        name: in_order(
            dict.fromkeys([*given.get(name, ()), *(v[name] for v in values.values() if name in v)])
        )
        for name in settings
    }


def in_order(values: Iterable[str]) -> tuple[str, ...]:
    """Numbers by size, words as they come."""
    values = tuple(values)
    try:
        return tuple(sorted(values, key=float))
    except ValueError:
        return values
