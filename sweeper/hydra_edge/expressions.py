"""Hydra's sweep expressions as a search space: ``batch.micro_size=choice(1,2,4)``."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import yaml
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    RangeSweep,
    Transformer,
)
from hydra.errors import OverrideParseException

from sweeper.core.settings import setting_names
from sweeper.core.space import Choice, Domain, FloatRange, IntRange, SearchSpace
from sweeper.errors import UsageError
from sweeper.hydra_edge.messages import unparsable
from sweeper.hydra_edge.options import group_of, known_options
from sweeper.hydra_edge.other_words import as_named_here
from sweeper.places import conf_dir


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """What a study was asked for: overrides for every trial, and what varies."""

    fixed: tuple[str, ...]
    space: SearchSpace


def read(
    arguments: Sequence[str], params: Mapping[str, Any], loader: ConfigLoader | None = None
) -> Typed:
    """Command line over ``params`` (``hydra.sweeper.params``): what is typed replaces what it contradicts.

    ``loader`` knows the options of a group, which ``glob`` is one of. Raises UsageError for an
    expression that does not parse.
    """
    parse = functools.partial(_parse, parser=OverridesParser.create(config_loader=loader))
    parameters: dict[str, Domain] = {}
    fixed: list[str] = []
    for name, expression in params.items():
        if isinstance(expression, Mapping):
            inner = next(iter(expression), "micro_size")
            raise UsageError(
                f"hydra.sweeper.params.{name}={dict(expression)}: is not an expression; type it by its "
                f"whole name, '{name}.{inner}={expression.get(inner, 'choice(1,2)')}'"
            )
        line = as_named_here(f"{name}={expression}")
        override = parse(line, where=f"hydra.sweeper.params.{name}={expression}")
        if override.is_sweep_override():
            parameters[_name(override)] = domain_of(override)
        else:
            fixed.append(str(override.input_line))
    for argument in arguments:
        override = parse(argument, where=argument)
        parameters = _without_conflicts(parameters, override)
        if override.is_sweep_override():
            parameters[_name(override)] = domain_of(override)
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
        return domain_of(override).points() or ()
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


def _parse(line: str, *, where: str, parser: OverridesParser) -> Override:
    try:
        (override,) = parser.parse_overrides([line])
    except OverrideParseException as error:
        raise UsageError(unparsable(where, error)) from error
    return override


def _name(override: Override) -> str:
    """What is typed before the ``=``, ``+`` and package included.

    Without the ``++`` before a setting: that one is there in any case.
    """
    name = str(override.get_key_element())
    is_setting = override.is_force_add() and override.key_or_group in setting_names()
    return name.removeprefix("++") if is_setting else name


def domain_of(override: Override) -> Domain:
    """What a sweep expression searches. Raises UsageError for one with nothing in it."""
    value = override.value()
    if override.is_choice_sweep():
        return Choice(values=tuple(dict.fromkeys(_choices(override, value))))
    if isinstance(value, RangeSweep):
        domain = _range(override, value)
    else:
        assert isinstance(value, IntervalSweep)
        domain = _interval(override, value)
    if isinstance(domain, FloatRange) and _is_whole(override.key_or_group):
        return _in_whole_numbers(override, domain)
    return domain


def _choices(override: Override, value: Any) -> Sequence[str]:
    """In the order that was typed: a study draws anyway, and one that goes on must know its space."""
    if isinstance(value, ChoiceSweep):
        return [str(Transformer.encode(each)) for each in value.list]
    found = [str(each) for each in override.sweep_iterator()]
    if not found:
        raise UsageError(
            f"{override.input_line}: no option of {override.key_or_group} matches; type "
            f"'{_name(override)}={_instead_of_glob(override)}'"
        )
    return found


def _instead_of_glob(override: Override) -> str:
    group = group_of(override.key_or_group)
    return f"choice({','.join(known_options(group)[:2])})" if group else "choice(1,2)"


def _interval(override: Override, value: IntervalSweep) -> Domain:
    low, high = value.start, value.end
    if low is None or high is None or not low < high:
        raise UsageError(
            f"{override.input_line}: the interval is empty, its lower end comes first; type "
            f"'{_name(override)}={_turned(low, high)}'"
        )
    log = "log" in value.tags
    if log and not low > 0:
        raise UsageError(
            f"{override.input_line}: a logarithm begins above 0; type for example "
            f"'{_name(override)}=tag(log,interval({min(1, high / 1000):g},{high:g}))', or leave "
            "tag(log) out"
        )
    if isinstance(low, int) and isinstance(high, int):
        return IntRange(low=low, high=high, log=log)
    return FloatRange(low=float(low), high=float(high), log=log)


def _turned(low: Any, high: Any) -> str:
    """An interval of the same ends, in their order; of one number, with another above it."""
    if low is None or high is None:
        return "interval(1,8)"
    return f"interval({high:g},{low:g})" if high < low else f"interval({low:g},{low + 1:g})"


def _range(override: Override, value: RangeSweep) -> Domain:
    """Hydra's ``range`` stops before its end, as Python's does, and may go down."""
    start, stop, step = value.start, value.stop, value.step
    if start is None or stop is None or not step or not (stop - start) * step > 0:
        raise UsageError(
            f"{override.input_line}: the range is empty: it stops before its end, and goes down with a "
            f"step below 0; type '{_name(override)}={_range_with_numbers(start, stop)}'"
        )
    if all(isinstance(number, int) for number in (start, stop, step)):
        numbers = range(int(start), int(stop), int(step))
        low, high = sorted((numbers[0], numbers[-1]))
        return IntRange(low=low, high=high, step=abs(int(step)))
    count = int((stop - start) / step - 1e-9)
    least, most = sorted((float(start), float(start + count * step)))
    return FloatRange(low=least, high=most, step=abs(float(step)))


def _range_with_numbers(start: Any, stop: Any) -> str:
    if start is None or stop is None or start == stop:
        return f"range({start or 1},{(start or 1) + 2})"
    return f"range({start},{stop},{1 if start < stop else -1})"


def _is_whole(name: str) -> bool:
    """Whether the setting takes whole numbers alone."""
    kind = setting_names().get(name, {}).get("type")
    return int in (kind, *get_args(kind)) and float not in get_args(kind)


def _in_whole_numbers(override: Override, domain: FloatRange) -> IntRange:
    """Those of a range, of a setting that takes no others."""
    numbers = (domain.low, domain.high, domain.step or 1.0)
    if domain.step is not None and not all(number.is_integer() for number in numbers):
        raise UsageError(
            f"{override.input_line}: {override.key_or_group} is a whole number; type for example "
            f"'{_name(override)}=range({max(math.ceil(domain.low), 1)},{max(math.ceil(domain.low), 1) + 4})'"
        )
    low, high = math.ceil(domain.low), math.floor(domain.high)
    if not low < high and domain.step is None:
        raise UsageError(
            f"{override.input_line}: there are not two whole numbers in it, which "
            f"{override.key_or_group} is; type '{_name(override)}=interval({low},{low + 1})'"
        )
    return IntRange(low=low, high=high, step=int(domain.step or 1), log=domain.log)
