"""Hydra's sweep expressions as a search space: ``batch.micro_size=choice(1,2,4)``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    IntervalSweep,
    Override,
    RangeSweep,
    Transformer,
)
from hydra.errors import OverrideParseException

from sweeper.core.space import Choice, Domain, FloatRange, IntRange, SearchSpace
from sweeper.errors import UsageError
from sweeper.hydra_edge.messages import unparsable
from sweeper.places import conf_dir


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """What a study was asked for: overrides for every trial, and what varies."""

    fixed: tuple[str, ...]
    space: SearchSpace


def read(arguments: Sequence[str], params: Mapping[str, Any]) -> Typed:
    """Command line over ``params`` (``hydra.sweeper.params``): what is typed replaces what it contradicts.

    Raises UsageError for an expression that does not parse.
    """
    parameters: dict[str, Domain] = {}
    fixed: list[str] = []
    for name, expression in params.items():
        override = _parse(f"{name}={expression}", where=f"hydra.sweeper.params.{name}={expression}")
        if override.is_sweep_override():
            parameters[_name(override)] = _domain(override)
        else:
            fixed.append(str(override.input_line))
    for argument in arguments:
        override = _parse(argument, where=argument)
        parameters = _without_conflicts(parameters, override)
        if override.is_sweep_override():
            parameters[_name(override)] = _domain(override)
        else:
            fixed.append(argument)
    return Typed(fixed=tuple(fixed), space=SearchSpace(parameters=parameters))


def _without_conflicts(parameters: Mapping[str, Domain], typed: Override) -> dict[str, Domain]:
    """The parameters that are left beside ``typed``.

    ``zero.stage=2`` and ``zero=choice(stage1,stage2)`` contradict each other, whichever was typed:
    the options set the stage. ``zero.reduce_bucket_size`` goes with both.
    """
    key = typed.key_or_group
    typed_options = _options(typed)

    def contradicts(name: str, domain: Domain) -> bool:
        name = name.lstrip("+~")
        if name.startswith(f"{key}."):
            return _set(key, typed_options, name)
        if key.startswith(f"{name}."):
            return _set(name, domain.points() or (), key)
        return name == key

    return {n: domain for n, domain in parameters.items() if not contradicts(n, domain)}


def _options(override: Override) -> Sequence[str]:
    if override.is_sweep_override():
        return _domain(override).points() or ()
    return (str(override.value()),)


def _set(group: str, options: Sequence[str], name: str) -> bool:
    """Whether one of the options sets the value; those that are not ours are not known to."""
    files = [conf_dir() / group / f"{option}.yaml" for option in options]
    setting = name.removeprefix(f"{group}.").partition(".")[0]
    return any(file.exists() and setting in yaml.safe_load(file.read_text()) for file in files)


def settings_of_option(group: str, option: str) -> list[str]:
    """The settings that an option of one of our groups sets; none where it is no such option."""
    file = conf_dir() / group / f"{option}.yaml"
    if not group.isidentifier() or not file.is_file():
        return []
    return [f"{group}.{name}" for name in yaml.safe_load(file.read_text())]


def _parse(line: str, *, where: str) -> Override:
    try:
        (override,) = OverridesParser.create().parse_overrides([line])
    except OverrideParseException as error:
        raise UsageError(unparsable(where, error)) from error
    return override


def _name(override: Override) -> str:
    """What is typed before the ``=``, ``+`` and package included."""
    return str(override.get_key_element())


def _domain(override: Override) -> Domain:
    value = override.value()
    if override.is_choice_sweep():
        values = override.sweep_iterator(transformer=Transformer.encode)
        return Choice(values=tuple(dict.fromkeys(str(value) for value in values)))
    if isinstance(value, RangeSweep):
        return _range(override, value)
    assert isinstance(value, IntervalSweep)
    low, high = value.start, value.end
    if low is None or high is None or not low < high:
        raise UsageError(f"{override.input_line}: the interval is empty; give interval(low,high)")
    log = "log" in value.tags
    if isinstance(low, int) and isinstance(high, int):
        return IntRange(low=low, high=high, log=log)
    return FloatRange(low=float(low), high=float(high), log=log)


def _range(override: Override, value: RangeSweep) -> Domain:
    """Hydra's ``range`` stops before its end, as Python's does."""
    start, stop, step = value.start, value.stop, value.step
    if start is None or stop is None or not step > 0 or not start < stop:
        raise UsageError(f"{override.input_line}: the range is empty; give range(start,stop,step)")
    if value.shuffle:
        return Choice(values=tuple(str(v) for v in override.sweep_iterator(Transformer.encode)))
    if all(isinstance(number, int) for number in (start, stop, step)):
        last = start + (int(stop - start - 1) // int(step)) * step
        return IntRange(low=int(start), high=int(last), step=int(step))
    count = int((stop - start) / step - 1e-9)
    return FloatRange(low=float(start), high=float(start + count * step), step=float(step))
