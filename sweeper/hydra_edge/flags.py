"""Hydra's own flags: told apart from the overrides, and a wrong one refused in a line of ours."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser
from hydra.conf import HydraConf

from sweeper.core.settings import FREE_GROUPS, Settings, setting_names
from sweeper.errors import UsageError
from sweeper.hydra_edge.options import group_of, known_options
from sweeper.hydra_edge.other_words import as_named_here
from sweeper.places import conf_dir

_HELP = "python -m sweeper --hydra-help"
_EXAMPLES = {
    "cfg": "--cfg job",
    "package": "--cfg job --package zero",
    "info": "--info defaults",
    "config_dir": "--config-dir .",
    "config_name": "--config-name config",
    "config_path": f"--config-path {conf_dir()}",
}
# With one of these Hydra runs nothing, or the user has said how.
_COMMANDS = ("run", "multirun", "shell_completion", "cfg", "info", "help", "hydra_help")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """Overrides and flags, each in the order that they were typed.

    ``has_command`` where a flag says what Hydra is to do; ``own_places`` where configurations of the
    user's may bring names that are not known here; ``completes`` where it is a shell that asks.
    """

    overrides: tuple[str, ...]
    flags: tuple[str, ...]
    has_command: bool
    own_places: bool
    completes: bool


def taken_apart(arguments: Sequence[str]) -> CommandLine:
    """Raises UsageError for a flag that there is not, or that lacks its value."""
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise UsageError(_refusal(message, parser, arguments))

    parser.error = refuse  # type: ignore[method-assign]
    given = parser.parse_intermixed_args(list(arguments))
    if not given.shell_completion:
        _check(given)
    overrides = tuple(given.overrides)
    flags, waiting = [], list(overrides)
    for argument in arguments:
        if waiting and argument == waiting[0]:
            waiting.pop(0)
        else:
            flags.append(argument)
    own_places = (given.config_dir, given.config_name, given.config_path, given.experimental_rerun)
    searched = any(o.lstrip("+").startswith("hydra.searchpath") for o in overrides)
    return CommandLine(
        overrides=overrides,
        flags=tuple(flags),
        has_command=any(getattr(given, name) for name in (*_COMMANDS, "experimental_rerun")),
        own_places=searched or any(own_places),
        completes=given.shell_completion,
    )


def _refusal(message: str, parser: argparse.ArgumentParser, arguments: Sequence[str]) -> str:
    known = [o for o in parser._option_string_actions if o.startswith("--")]
    if match := re.match(r"argument ([^:]+): (.*)", message):
        long = next((o for o in match[1].split("/") if o.startswith("--")), match[1])
        action = parser._option_string_actions[long]
        example = _EXAMPLES.get(action.dest, f"{long} <value>")
        if "expected" in match[2]:
            return f"{long}: its value is missing; type {example}"
        value = re.search(r"invalid choice: '(.*?)'", match[2])
        allowed = ", ".join(action.choices or ())
        return f"{long} {value[1] if value else ''}: allowed are {allowed}; type {example}"
    unknown = next((a for a in arguments if a.split("=")[0] in message.split()), "")
    wrong = unknown or message.rpartition(": ")[2]
    if meant := _as_override(wrong, arguments):
        return f"{wrong}: what is set is typed without dashes, as name=value; type {meant}"
    close = difflib.get_close_matches(wrong.split("=")[0], known, n=1, cutoff=0.7)
    advice = _EXAMPLES.get(close[0].lstrip("-").replace("-", "_"), close[0]) if close else _HELP
    return f"{wrong}: there is no such flag; allowed are {', '.join(known)}; type {advice}"


def _as_override(wrong: str, arguments: Sequence[str]) -> str | None:
    """``--zero stage3`` and ``--lr=1e-3`` as they are typed here; None for a flag that is no name."""
    name, equals, value = wrong.lstrip("-").partition("=")
    behind = arguments[arguments.index(wrong) + 1 :] if wrong in arguments else ()
    if not equals:
        value = behind[0] if behind and not behind[0].startswith(("-", "+")) else "true"
    for each in (name, name.replace("-", "_")):
        with contextlib.suppress(UsageError):
            meant = as_named_here(f"{each}={value}")
            ours = meant.partition("=")[0]
            if group_of(ours) and meant.partition("=")[2] in known_options(ours):
                return f"+{meant}" if ours == "model" else meant
            if ours in setting_names() or (ours != each and ours.startswith("hydra.sweeper.")):
                return meant
    return None


def _check(given: argparse.Namespace) -> None:
    chosen = [name for name in ("run", "multirun", "cfg", "info") if getattr(given, name)]
    if len(chosen) > 1:
        typed = " ".join(f"--{name}" for name in chosen)
        raise UsageError(
            f"{typed}: Hydra does one of them; type "
            f"{_EXAMPLES.get(chosen[-1], f'--{chosen[-1]}')} alone"
        )
    if given.resolve and not (given.cfg or given.help):
        raise UsageError("--resolve: shows what --cfg shows; type --cfg job --resolve")
    if given.package and not given.cfg:
        raise UsageError(
            f"--package {given.package}: is a part of what --cfg shows; type {_EXAMPLES['package']}"
        )
    if given.package and not _is_shown(given.package, given.cfg):
        raise UsageError(
            f"--package {given.package}: there is no such part of --cfg {given.cfg}; allowed are "
            f"{', '.join(_roots(given.cfg))}; type --cfg {given.cfg} --package {_roots(given.cfg)[-1]}"
        )
    _check_places(given)


def _check_places(given: argparse.Namespace) -> None:
    if given.config_dir is not None and not Path(given.config_dir).is_dir():
        raise UsageError(
            f"--config-dir {given.config_dir}: there is no such folder; type --config-dir . or the "
            "path of the folder that has your configurations"
        )
    if given.config_path is not None and "://" not in given.config_path:
        # Hydra looks beside the file with the app, which is nowhere that a user has files.
        if not (Path(given.config_path).is_absolute() and Path(given.config_path).is_dir()):
            raise UsageError(
                f"--config-path {given.config_path}: would replace sweeper's own configurations; "
                "type --config-dir . or the path of the folder that has yours"
            )
        return
    places = [conf_dir(), *([Path(given.config_dir)] if given.config_dir else [])]
    name = given.config_name
    if name is not None and not any(
        (place / f"{name.removesuffix('.yaml')}.yaml").is_file() for place in places
    ):
        raise UsageError(
            f"--config-name {name}: there is no {name.removesuffix('.yaml')}.yaml in "
            f"{' or '.join(map(str, places))}; type --config-name config, and --config-dir "
            "<a folder> for a file of yours"
        )
    if given.experimental_rerun is not None and not Path(given.experimental_rerun).is_file():
        raise UsageError(
            f"--experimental-rerun {given.experimental_rerun}: there is no such file; "
            "type python -m sweeper resume=results/<study> to go on with a study"
        )


def _roots(cfg: str) -> list[str]:
    ours = [] if cfg == "hydra" else [*(f.name for f in fields(Settings)), "objective", "callbacks"]
    return sorted(ours) + ([] if cfg == "job" else ["hydra"])


def _is_shown(package: str, cfg: str) -> bool:
    """What is below Hydra's own groups, or the user's model, is taken on trust."""
    root, _, rest = package.partition(".")
    if package == "_global_" or (root in _roots(cfg) and not rest):
        return True
    if root not in _roots(cfg):
        return False
    if root == "hydra":
        return rest.partition(".")[0] in {f.name for f in fields(HydraConf)}
    return root in (*FREE_GROUPS, "objective", "callbacks") or package in setting_names()
