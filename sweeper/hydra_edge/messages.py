"""Hydra's and OmegaConf's errors as one line: what was given, what is allowed, what to type."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException, ValidationError

from sweeper.core.settings import setting_names, unknown_setting
from sweeper.errors import SweeperError, UsageError
from sweeper.hydra_edge.compose import no_model, options
from sweeper.hydra_edge.schema import SAMPLERS, OptunaSweeperConf

EXPECTED = (HydraException, OmegaConfBaseException)
_OTHER_OPTIONS: Mapping[str, Sequence[str]] = {
    "hydra/sweeper": ("optuna", "basic"),
    "hydra/sweeper/sampler": tuple(SAMPLERS),
}
_NO_SWEEPER = (
    r"(?:Sweep parameters '(?=[^']+' requires --multirun)|Ambiguous value for argument ')([^']+)'"
)
# Hydra raises a plain ValueError for zero=3, which YAML reads as a number.
_NO_OPTION = "Config group override must be a string or a list"


def is_expected(error: Exception) -> bool:
    """Whether it says that what was typed is wrong; any other is a bug."""
    return isinstance(error, EXPECTED) or (
        isinstance(error, ValueError) and str(error).startswith(_NO_OPTION)
    )


def usage_error(error: Exception, arguments: Sequence[str]) -> SweeperError:
    """``arguments`` are those of the command line; an error of ours below Hydra's is the one that is meant."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, SweeperError):
            return below
        below = below.__cause__ or below.__context__
    text = str(error)
    if isinstance(error, MissingConfigException):
        return UsageError(_missing(error, text))
    if isinstance(error, OverrideParseException):
        return UsageError(unparsable(str(error.override), error))
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, ValidationError):
        return UsageError(_wrong_type(cause, text, arguments))
    if match := re.search(r"Could not override '([^']+)'", text):
        return UsageError(_unknown(match.group(1), arguments))
    if match := re.search(r"Multiple values for ([\w/]+)\.", text):
        return UsageError(_twice(match.group(1), arguments))
    if text.startswith(_NO_OPTION):
        return UsageError(_no_option(arguments))
    if match := re.search(_NO_SWEEPER, text):
        return UsageError(
            f"{match.group(1)} is a search expression, but no sweeper was chosen; type "
            "hydra/sweeper=optuna to search it, or -m for a plain grid"
        )
    return UsageError(" ".join(line.strip() for line in text.splitlines() if line.strip()))


def _twice(group: str, arguments: Sequence[str]) -> str:
    typed = [a for a in arguments if a.lstrip("+").partition("=")[0] in (group, "script")]
    if group == "model" and any("script" in a.partition("=")[0] for a in arguments):
        return "a script is tuned in the place of a model, and both are typed; leave +model= out, or +script="
    plus = "+" if group == "model" else ""
    return f"{' '.join(typed) or group}: {group} is given more than once; type {plus}{group}=<one option>"


def _missing(error: MissingConfigException, text: str) -> str:
    named = str(error.missing_cfg_file or "")
    group, _, option = named.rpartition("/")
    if named.startswith("model/"):  # hf/bert-base is one of its options
        group, _, option = named.partition("/")
    allowed = options(group) or sorted(error.options or ())
    if not group or not allowed:
        return " ".join(text.split())
    plus = "+" if group == "model" else ""
    close = _closest(option, allowed)
    if group == "model":
        return no_model(f"there is no model {option}").rpartition("; type")[0] + (
            f"; type +model={close}"
        )
    return f"{group}={option}: allowed are {', '.join(allowed)}; type {plus}{group}={close}"


def _no_option(arguments: Sequence[str]) -> str:
    """For ``zero=3``: a group was typed with a number, true or null, alone or among others."""
    for argument in arguments:
        name, _, value = argument.lstrip("+").partition("=")
        group = name.partition("@")[0]
        allowed = options(group) or _OTHER_OPTIONS.get(group, ())
        if not allowed or (words := _not_words(value)) is None:
            continue
        plus = "+" if group == "model" else ""
        meant = [option for option in allowed if option.endswith(words)] or allowed
        close = _closest(words, meant)
        return f"{argument}: allowed are {', '.join(allowed)}; type {plus}{group}={close}"
    return f"{' '.join(arguments)}: a group takes the name of one of its options; type zero=stage3"


def _not_words(value: str) -> str | None:
    """What of it YAML takes for no string; None where all of it are words."""
    for word in re.split(r"[(),\[\]\s]+", value):
        if word and not isinstance(yaml.safe_load(word), str):
            return word
    return None


def unparsable(override: str, error: Exception) -> str:
    """The line for an override that is not Hydra's grammar; ``error`` is Hydra's."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    noise = ("See https:", "Error parsing override", "^")
    what = "; ".join(
        re.sub(r"^\w+ while evaluating '.*?': ", "", line)
        for line in lines
        if not line.startswith(noise)
    )
    return (
        f"{override} does not parse: {what}; a search expression is choice(1,2,4), range(1,9) or "
        "interval(0.1,1.0), other values with commas, brackets or quotes are quoted; "
        "type for example 'batch.micro_size=choice(1,2,4)'"
    )


def _wrong_type(cause: ValidationError, text: str, arguments: Sequence[str]) -> str:
    key = str(cause.full_key or cause.key or "")
    typed = next((a for a in arguments if a.lstrip("+").split("=")[0] == key), key)
    first = str(cause.msg or text).splitlines()[0]
    wanted = re.search(r"could not be converted to (\w+)", first)
    kind = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}
    what = f"is not {kind.get(wanted.group(1), wanted.group(1))}" if wanted else first
    return f"{typed}: the value {what}; type {key}={_example(key)}"


def _example(key: str) -> str:
    metadata = setting_names().get(key, {})
    choices = metadata.get("choices") or ()
    if choices:
        return "|".join(map(str, choices))
    return f"{metadata['minimum']:g}" if metadata.get("minimum") else "<value>"


def _unknown(key: str, arguments: Sequence[str]) -> str:
    typed = next((a for a in arguments if a.lstrip("+~").split("=")[0] == key), key)
    value = typed.partition("=")[2]
    if key == "model":
        close = _closest(value, options("model"))
        return f"{typed}: a model is added to the configuration; type +model={close}"
    if key == "space":
        return f"{typed}: a space is searched by a study; type hydra/sweeper=optuna {typed}"
    if key.startswith("hydra.sweeper."):
        return _unknown_option(key.removeprefix("hydra.sweeper."), value, typed)
    if key.startswith("hydra"):
        return (
            f"{typed}: Hydra has no setting {key}; type python -m sweeper --cfg hydra to see them"
        )
    return unknown_setting(key, typed)


def check_options(options: Mapping[str, Any]) -> None:
    """Raises UsageError for one of the sweeper's that there is not: what ``+`` adds, Hydra takes."""
    known = {f.name for f in fields(OptunaSweeperConf)}
    for name, value in options.items():
        if name not in known:
            raise UsageError(_unknown_option(name, value, f"hydra.sweeper.{name}={value}"))


def _unknown_option(name: str, value: Any, typed: str) -> str:
    if name == "search_space":
        return (
            f"{typed}: the old name of hydra.sweeper.params; type an expression for each parameter, "
            "for example 'batch.micro_size=choice(1,2,4)'"
        )
    names = [f"hydra.sweeper.{f.name}" for f in fields(OptunaSweeperConf) if f.name[0] != "_"]
    if f"hydra.sweeper.{name}" in names:
        return f"{typed}: is an option of a study; type hydra/sweeper=optuna too"
    close = _closest(f"hydra.sweeper.{name}", names)
    return f"{typed}: allowed are {', '.join(names)}; type {close}={value}"


def _closest(given: str, allowed: Iterable[str]) -> str:
    names = list(allowed)
    return (difflib.get_close_matches(given, names, n=1, cutoff=0.3) or names)[0]
