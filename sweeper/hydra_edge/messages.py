"""Hydra's and OmegaConf's errors as one line: what was given, what is allowed, what to type."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException, ValidationError

from sweeper.core.setting_words import example_of, unknown_setting
from sweeper.core.settings import setting_names
from sweeper.errors import SweeperError, UsageError
from sweeper.hydra_edge.compose import no_model
from sweeper.hydra_edge.options import group_of, known_groups, known_options, options
from sweeper.hydra_edge.other_words import normal
from sweeper.hydra_edge.schema import OptunaSweeperConf

EXPECTED = (HydraException, OmegaConfBaseException)
# Of the sweeper's options and of Hydra's settings, values that they may have where their own will not do.
_EXAMPLES = {
    "hydra.sweeper.timeout": "3600",
    "hydra.sweeper.patience": "5",
    "hydra.sweeper.storage": "journal:study.log",
    "hydra.mode": "MULTIRUN",
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
        key = match.group(1)
        typed = next((a for a in arguments if a.lstrip("+~").split("=")[0] == key), key)
        return UsageError(unknown(key, typed))
    if match := re.search(r"Multiple values for ([\w/]+)\.", text):
        return UsageError(_twice(match.group(1), arguments))
    if text.startswith(_NO_OPTION):
        return UsageError(_not_a_word(arguments))
    if match := re.search(r"An item is already at '(.*?)'", text):
        typed = next((a for a in arguments if a.lstrip("+").startswith(f"{match[1]}=")), match[1])
        return UsageError(
            f"{typed}: + adds what is not there, and {match[1]} is; type {typed.lstrip('+')}"
        )
    if match := re.search(r"Could not delete from config. '(.*?)' does not exist", text):
        return UsageError(
            f"~{match[1]}: there is no {match[1]} to be deleted; leave it out, and type python -m sweeper "
            "--cfg job to see what there is"
        )
    if match := re.search(_NO_SWEEPER, text):
        return UsageError(
            f"{match.group(1)} is a search expression, but no sweeper was chosen; type "
            "hydra/sweeper=optuna to search it, or -m for a plain grid"
        )
    said = " ".join(line.strip() for line in text.splitlines() if line.strip()).rstrip(".")
    return UsageError(f"{said}; type python -m sweeper --help for everything")


def _twice(group: str, arguments: Sequence[str]) -> str:
    typed = [a for a in arguments if a.lstrip("+").partition("=")[0] in (group, "script")]
    if group == "model" and any("script" in a.partition("=")[0] for a in arguments):
        return "a script is tuned in the place of a model, and both are typed; leave +script= out and type +model=gpt2, or leave +model= out"
    plus = "+" if group == "model" else ""
    one = typed[-1].partition("=")[2] if typed else known_options(group)[0]
    return f"{' '.join(typed) or group}: {group} is given more than once; type {plus}{group}={one} alone"


def _missing(error: MissingConfigException, text: str) -> str:
    named = str(error.missing_cfg_file or "")
    group, _, option = named.rpartition("/")
    if named.startswith("model/"):  # hf/bert-base is one of its options
        group, _, option = named.partition("/")
    if group_of(group):
        allowed = tuple(error.options or ())
        if group in ("hydra/sweeper", "hydra/launcher") and allowed:
            return (
                f"{group}={option}: allowed are {', '.join(allowed)}; type "
                f"{group}={_closest(option, known_options(group))}"
            )
        return no_option(f"{group}={option}", group, option)
    if error.options:
        allowed = tuple(sorted(error.options))
        return (
            f"{group}={option}: allowed are {', '.join(allowed)}; type "
            f"{group}={_closest(option, allowed)}"
        )
    return (
        f"{' '.join(text.split()).rstrip('.')}; type python -m sweeper --info searchpath for where "
        "configurations are looked for"
    )


def _not_a_word(arguments: Sequence[str]) -> str:
    """For a group in a configuration of the user's that is a number, true or null."""
    return (
        f"{' '.join(arguments)}: a group takes the name of one of its options; type for example "
        "zero=stage3"
    )


def meant_by(word: str) -> str | None:
    """What a word without ``=`` may stand for: a model, a group, ``zero:stage3``."""
    plain = word.lstrip("+-")
    name, mark, value = plain.partition(":")
    if mark and group_of(name) and value in known_options(name):
        return f"{'+' if name == 'model' else ''}{name}={value}"
    if group_of(plain):
        first = "gpt2" if plain == "model" else known_options(plain)[0]
        return f"{'+' if plain == 'model' else ''}{plain}={first}"
    if plain in options("model"):
        return f"+model={plain}"
    groups = [g for g in known_groups() if "/" not in g and plain in known_options(g)]
    return f"{groups[0]}={plain}" if len(groups) == 1 else None


def no_option(typed: str, group: str, word: str) -> str:
    """The line for ``word``, in what was typed of a group, which is none of its options."""
    plus = "+" if group == "model" else ""
    if group == "model":
        close = _closest(word, options("model"))
        said = no_model(f"there is no model {word or typed}").rpartition("; type")[0]
        return f"{said}; type +model={close}"
    allowed = known_options(group)
    return (
        f"{typed}: allowed are {', '.join(allowed)}; type {plus}{group}={_closest(word, allowed)}"
    )


def unparsable(override: str, error: Exception) -> str:
    """The line for an override that is not Hydra's grammar; ``error`` is Hydra's."""
    name, _, value = override.partition("=")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    noise = ("See https:", "Error parsing override", "^", "full_key:", "object_type=")
    what = "; ".join(
        re.sub(r"^\w+ while evaluating '.*?': ", "", line)
        for line in lines
        if not line.startswith(noise)
    )
    return (
        f"{override} does not parse: {_in_plain_words(what)}; a search expression is choice(1,2,4), range(1,9) "
        "or interval(0.1,1.0), other values with commas, brackets or quotes are quoted; "
        f"type {_parsable(name, value, what)}"
    )


def _in_plain_words(what: str) -> str:
    """Without the tokens of a grammar."""
    what = re.sub(
        r"mismatch type argument .* NoneType .*", "choice() takes no null, a list does", what
    )
    what = re.sub(r"LexerNoViableAltException: (.*)", r"it is not in the form name=value", what)
    what = re.sub(
        r"(?:mismatched|extraneous) input '<EOF>' expecting .*", "its end is missing", what
    )
    what = re.sub(r"(?:mismatched|extraneous) input ('.*?') expecting .*", r"\1 is too much", what)
    return re.sub(r"no viable alternative at input ('.*')", r"\1 is not understood", what)


def _parsable(name: str, value: str, what: str) -> str:
    """Of the same name, as near to what was typed as can be told."""
    if function := re.search(r"Unknown function '(\w+)'", what):
        close = _closest(function[1], ("choice", "range", "interval", "glob", "tag", "sort"))
        return f"'{name}={value.replace(function[1] + '(', close + '(')}'"
    if "NoneType is incompatible" in what:  # choice() takes no null, a list does
        return f"'{name}={re.sub(r'^[a-z]+[(]|[)]$', '', value)}'"
    words = [w for w in re.findall(r"[\w./-]+(?![\w./-]*\()", value) if w not in ("", "-")]
    group = group_of(name.lstrip("+~"))
    if group is not None:
        plus = "+" if group == "model" else ""
        known = [word for word in words if word in known_options(group)] or [
            "gpt2" if group == "model" else known_options(group)[0]
        ]
        return (
            f"{plus}{group}={known[0]}"
            if len(known) == 1
            else f"'{name}=choice({','.join(known)})'"
        )
    metadata = setting_names().get(name.lstrip("+"))
    if metadata is None:
        return "for example batch.micro_size=2"
    numbers = [word for word in words if re.fullmatch(r"\d+(\.\d+)?", word)]
    if len(numbers) > 1 and "(" in value and not metadata.get("choices"):
        return f"'{name}=choice({','.join(numbers)})'"
    return f"for example {name}={example_of(name, metadata)}"


def _wrong_type(cause: ValidationError, text: str, arguments: Sequence[str]) -> str:
    key = str(cause.full_key or cause.key or "")
    typed = next((a for a in arguments if a.lstrip("+").split("=")[0] == key), key)
    first = str(cause.msg or text).splitlines()[0]
    if wanted := re.search(r"could not be converted to (\w+)|is not a valid (bool)", first):
        kind = {"Integer": "a whole number", "Float": "a number"}
        what = f"is not {kind.get(wanted[1], 'true or false')}"
    elif "is not Optional" in first:
        what = "cannot be null"
    elif allowed := re.search(r"expected one of \[(.*)\]", first):
        what = f"is none of {allowed[1]}"
    elif "Cannot assign" in first or "Cannot convert" in first:
        what = f"is of another kind ({first})"
    else:
        what = f"does not fit ({first})"
    return f"{typed}: the value {what}; type {_typed_example(key)}"


def _typed_example(key: str) -> str:
    """A whole override with a value that it may have."""
    if key in _EXAMPLES:
        return f"{key}={_EXAMPLES[key]}"
    options = {f"hydra.sweeper.{f.name}": f for f in fields(OptunaSweeperConf)}
    if key in options:
        default = options[key].default
        return f"{key}={'null' if default is None else str(default).lower()}"
    if metadata := setting_names().get(key):
        return f"{key}={example_of(key, metadata)}"
    return "python -m sweeper --cfg hydra to see what it may be"


def unknown(key: str, typed: str) -> str:
    """The line for a name that there is not."""
    value = typed.partition("=")[2]
    if key == "model":
        return f"{typed}: a model is added to the configuration; type +model={_model(value)}"
    if key == "space":
        return f"{typed}: a space is searched by a study; type hydra/sweeper=optuna {typed}"
    if key.startswith("hydra.sweeper."):
        return _unknown_option(key.removeprefix("hydra.sweeper."), value, typed)
    if key.startswith("hydra"):
        close = difflib.get_close_matches(key, known_groups(), n=1, cutoff=0.7)
        if close:
            return f"{typed}: Hydra has no {key}; type {close[0]}={_closest(value, known_options(close[0]))}"
        return (
            f"{typed}: there is no such setting of Hydra's, or + adds to it; type python -m sweeper --cfg "
            "hydra to see them"
        )
    names = [group for group in known_groups() if "/" not in group]
    groups = difflib.get_close_matches(key.partition("@")[0], names, n=1, cutoff=0.6)
    if groups and "." not in key:
        (group,) = groups
        plus = "+" if group == "model" else ""
        said = f"there is no setting {key}; there are the groups {', '.join(names)}"
        return f"{typed}: {said}; type {plus}{group}={_closest(value, options(group))}"
    return unknown_setting(key, typed)


def _model(value: str) -> str:
    return _closest(value, options("model"))


def check_options(options: Mapping[str, Any]) -> None:
    """Raises UsageError for one of the sweeper's that there is not: what ``+`` adds, Hydra takes."""
    known = {f.name for f in fields(OptunaSweeperConf)}
    for name, value in options.items():
        if name not in known:
            raise UsageError(_unknown_option(name, value, f"hydra.sweeper.{name}={value}"))


def _unknown_option(name: str, value: Any, typed: str) -> str:
    if name == "search_space":
        return (
            f"{typed}: the old name of hydra.sweeper.params; type "
            "'batch.micro_size=choice(1,2,4)', an expression for each parameter"
        )
    names = [f"hydra.sweeper.{f.name}" for f in fields(OptunaSweeperConf) if f.name[0] != "_"]
    if f"hydra.sweeper.{name}" in names:
        return f"{typed}: is an option of a study; type hydra/sweeper=optuna too"
    close = _closest(f"hydra.sweeper.{name}", names)
    return f"{typed}: allowed are {', '.join(names)}; type {_with_value(close, value)}"


def _with_value(key: str, value: Any) -> str:
    """What was typed, where that may be one of the option's; else one that is."""
    kind = str(next(f.type for f in fields(OptunaSweeperConf) if key.endswith(f".{f.name}")))
    number = re.fullmatch(r"\d+(\.\d+)?", str(value))
    if ("int" in kind or "float" in kind) and not number:
        return _typed_example(key)
    if kind.startswith(("bool", "dict", "Any")):
        return _typed_example(key)
    return f"{key}={value}"


def _closest(given: str, allowed: Iterable[str]) -> str:
    """Whatever their capitals, and what stands between their parts."""
    names = list(allowed)
    plain = {normal(name): name for name in names}
    close = difflib.get_close_matches(normal(given), plain, n=1, cutoff=0.3)
    return plain[close[0]] if close else names[0]
