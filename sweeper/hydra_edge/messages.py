"""Hydra's and OmegaConf's errors as one line: what was given, what is allowed, what to type."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import fields

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException, ValidationError

from sweeper.core.settings import setting_names, unknown_setting
from sweeper.errors import SweeperError, UsageError
from sweeper.hydra_edge.compose import no_model, options
from sweeper.hydra_edge.schema import OptunaSweeperConf

EXPECTED = (HydraException, OmegaConfBaseException)


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
    if match := re.search(r"Sweep parameters '([^']+)' requires --multirun", text):
        return UsageError(
            f"{match.group(1)} is a search expression, but no sweeper was chosen; type "
            "hydra/sweeper=optuna to search it, or -m for a plain grid"
        )
    return UsageError(" ".join(line.strip() for line in text.splitlines() if line.strip()))


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
        names = [f"hydra.sweeper.{f.name}" for f in fields(OptunaSweeperConf) if f.name[0] != "_"]
        return f"{typed}: allowed are {', '.join(names)}; type {_closest(key, names)}={value}"
    if key.startswith("hydra"):
        return (
            f"{typed}: Hydra has no setting {key}; type python -m sweeper --cfg hydra to see them"
        )
    return unknown_setting(key, typed)


def _closest(given: str, allowed: Iterable[str]) -> str:
    names = list(allowed)
    return (difflib.get_close_matches(given, names, n=1, cutoff=0.3) or names)[0]
