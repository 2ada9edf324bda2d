"""What is typed, before Hydra composes anything: said in our words, each override looked at."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_args

from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    Override,
    QuotedString,
    Sweep,
    Transformer,
)
from hydra.errors import OverrideParseException

from sweeper.core.objective import Objective
from sweeper.core.setting_words import example_of
from sweeper.core.settings import FREE_GROUPS, Settings, check_value, setting_names
from sweeper.errors import UsageError
from sweeper.hydra_edge.deletions import check_deletions
from sweeper.hydra_edge.expressions import domain_of
from sweeper.hydra_edge.messages import meant_by, no_option, unknown, unparsable
from sweeper.hydra_edge.options import group_of, is_option, known_options
from sweeper.hydra_edge.other_words import as_named_here

_OBJECTIVE = setting_names(Objective, "objective.")
_ROOTS = (*(f.name for f in fields(Settings)), "objective", "callbacks", "space", "hydra")
# Others than ours may be installed; Hydra knows them.
_OF_PLUGINS = ("hydra/sweeper", "hydra/launcher")
_FOLDERS = ("hydra.sweep.dir", "hydra.run.dir")
# Roots that are no groups of ours: what is below them is typed.
_BELOW = {"ds": "ds.gradient_clipping=1.0", "script": "+script=train.py"}
_PARAMS_EXAMPLE = "'hydra.sweeper.params={batch.micro_size: \"choice(1,2,4)\"}'"
_HYDRA_GROUPS = {
    **{f.name: f"hydra.{f.name}.dir" for f in fields(HydraConf) if f.name in ("run", "sweep")},
    **{
        f.name: ""
        for f in fields(HydraConf)
        if is_dataclass(f.type) and f.name not in ("run", "sweep")
    },
}
_WORDS_FOR_BOOL = ("true", "false", "yes", "no", "on", "off", "y", "n", "1", "0")


def in_our_words(overrides: Sequence[str], *, own_places: bool = False) -> list[str]:
    """``zero=3`` as ``zero=stage3``. Raises UsageError for a word with several meanings."""
    named = [as_named_here(override) for override in overrides]
    models = [o for o in named if o.lstrip("+").startswith("model=")]
    if len(models) == 1 and not own_places:
        # The one group that is added; a configuration of the user's may have one already.
        return ["+" + o if o.startswith("model=") else o for o in named]
    return named


def read_as(typed: Sequence[str], named: Sequence[str]) -> Iterator[str]:
    """A note for each that was read as something else than typed."""
    for before, after in zip(typed, named, strict=True):
        if before != after:
            yield f"{before} is read as {after}"


def check(overrides: Sequence[str], *, own_places: bool = False) -> None:
    """Raises UsageError for the first that is wrong by itself.

    ``own_places`` where configurations of the user's may bring groups, options and settings.
    """
    check_deletions(overrides)
    parser = OverridesParser.create()
    for typed in overrides:
        override = _parsed(typed, parser)
        if override.is_delete():
            continue
        if not own_places:
            _check_name(override, typed)
        _check_group(override, typed, own_places=own_places)
        _check_hydra(override, typed)
        _check_setting(override, typed)


def _parsed(typed: str, parser: OverridesParser) -> Override:
    if "=" not in typed and not typed.startswith("~"):
        raise UsageError(
            f"{typed}: neither the first word of a command nor name=value; type "
            f"{meant_by(typed) or 'for example zero=stage2'}"
        )
    if not typed.partition("=")[0].lstrip("+~"):
        raise UsageError(f"{typed}: the name before = is missing; type for example zero=stage2")
    try:
        (override,) = parser.parse_overrides([typed])
        value = override.value()
        if isinstance(value, ChoiceSweep) and any(isinstance(each, Sweep) for each in value.list):
            raise OverrideParseException(typed, "one search expression is inside another")
    # Hydra's parser fails in several ways, of OmegaConf's too, on what it does not foresee.
    except Exception as error:
        raise UsageError(unparsable(typed, error)) from error
    return override


def _check_name(override: Override, typed: str) -> None:
    """A name that is not there; what is below a model or ``ds.`` is not ours to name."""
    name = override.key_or_group
    root, _, rest = name.partition(".")
    if name in _BELOW and not isinstance(override.value(), dict):
        raise UsageError(
            f"{typed}: {name} has settings of its own; type for example {_BELOW[name]}"
        )
    if root.startswith("hydra/") or group_of(name) or name in _ROOTS:
        return
    if root not in _ROOTS:
        raise UsageError(unknown(name, typed))
    if rest and root not in (*FREE_GROUPS, "hydra", "callbacks"):
        known = _OBJECTIVE if root == "objective" else setting_names()
        lists = [n for n in known if _origin(known[n]["type"]) is list]
        if name not in known and name.rpartition(".")[0] not in lists:
            raise UsageError(unknown(name, typed))


def _check_group(override: Override, typed: str, *, own_places: bool) -> None:
    group = group_of(override.key_or_group)
    if group is None:
        return
    if override.is_sweep_override() and not override.is_choice_sweep():
        options = ",".join(known_options(group)[:2])
        raise UsageError(
            f"{typed}: options are names, without an order; type '{group}=choice({options})'"
        )
    value = override.value()
    if isinstance(value, Glob) or (isinstance(value, ChoiceSweep) and value.simple_form is None):
        return
    if isinstance(value, dict) and group != "callbacks":
        raise UsageError(no_option(typed, group, "{"))
    if isinstance(value, list) and group != "callbacks":
        words = [str(word) for word in value]
        if not words or words[0] not in known_options(group):
            raise UsageError(no_option(typed, group, words[0] if words else ""))
        search = f", or '{group}=choice({','.join(words)})' to search them" if words[1:] else ""
        raise UsageError(f"{typed}: takes one option; type {group}={words[0]}{search}")
    for each in _values(value):
        word = each.text if isinstance(each, QuotedString) else each
        if not isinstance(word, str):
            raise UsageError(no_option(typed, group, str(Transformer.encode(word))))
        if own_places or group in _OF_PLUGINS or "${" in word:
            continue
        if not is_option(group, word):
            raise UsageError(no_option(typed, group, word))


def _values(value: Any) -> Sequence[Any]:
    if isinstance(value, ChoiceSweep):
        return value.list
    return value if isinstance(value, list) else [value]


def _check_hydra(override: Override, typed: str) -> None:
    name = override.key_or_group
    if not name.startswith(("hydra.", "hydra/")):
        return
    if override.is_sweep_override():
        values = _values(override.value()) if override.is_choice_sweep() else []
        one = str(Transformer.encode(values[0])) if values else "<one value>"
        raise UsageError(
            f"{typed}: is the same for every candidate of a study, and for every trial of a grid; "
            f"type {name}={one}"
        )
    value = override.value()
    if name in _FOLDERS and str(value or "").strip() == "":
        raise UsageError(f"{typed}: names no folder; type {name}=results/mine, or leave it out")
    if name == "hydra.sweeper.params" and value is not None and not isinstance(value, dict):
        raise UsageError(
            f"{typed}: is the search space, of names and their expressions; type {_PARAMS_EXAMPLE}"
        )
    group = name.removeprefix("hydra.")
    if group in _HYDRA_GROUPS and not isinstance(value, dict) and "${" not in str(value):
        what = _HYDRA_GROUPS[group]
        raise UsageError(
            f"{typed}: {name} has settings of its own; type "
            + (f"{what}={value}" if what and value else "python -m sweeper --cfg hydra to see them")
        )


def _check_setting(override: Override, typed: str) -> None:
    """Each value that it may take, as far as a setting's own type and limits tell."""
    name = override.key_or_group
    metadata = {**setting_names(), **_OBJECTIVE}.get(name)
    value = override.value()
    if metadata is None or isinstance(value, Glob):
        return
    texts: Sequence[Any] = [value]
    if isinstance(value, ChoiceSweep):
        texts = value.list
    elif override.is_sweep_override():
        texts = [_number(text) for text in domain_of(override).bounds()]
    for each in texts:
        plain = each.text if isinstance(each, QuotedString) else each
        if isinstance(plain, str) and "${" in plain:
            continue
        if (wrong := _is_not(plain, metadata)) is not None:
            shown = shlex.quote(typed) if " " in typed else typed
            raise UsageError(
                f"{shown}: the value {wrong}; type {name}={example_of(name, metadata)}"
            )
        check_value(name, _as_kind(plain, metadata), metadata)


def _number(text: str) -> Any:
    number = float(text)
    return int(number) if number.is_integer() and "." not in text and "e" not in text else number


def _as_kind(value: Any, metadata: Any) -> Any:
    """A number that was typed in quotes as one."""
    kinds = get_args(metadata["type"]) or (metadata["type"],)
    if not isinstance(value, str) or {int, float}.isdisjoint(kinds):
        return value
    return int(float(value)) if int in kinds else float(value)


def _is_not(value: Any, metadata: Any) -> str | None:
    """What the value is not; None where it may be of the setting's type."""
    kinds = get_args(metadata["type"]) or (metadata["type"],)
    if _origin(metadata["type"]) is list:
        right = isinstance(value, list) and all(map(_is_number, value))
        return None if right else "is not a list of numbers"
    if value is None:
        return None if type(None) in kinds else "cannot be null"
    if isinstance(value, dict | list):
        return f"is not {_word(kinds)}"
    if int in kinds and float not in kinds and (not _is_number(value) or float(value) % 1):
        return "is not a whole number"
    if float in kinds and not _is_number(value):
        return "is not a number"
    if bool in kinds and str(value).lower() not in _WORDS_FOR_BOOL:
        return "is not true or false"
    return None


def _origin(kind: Any) -> Any:
    return getattr(kind, "__origin__", kind)


def _word(kinds: Sequence[Any]) -> str:
    words = {int: "a whole number", float: "a number", bool: "true or false"}
    return next((words[kind] for kind in kinds if kind in words), "one word")


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
