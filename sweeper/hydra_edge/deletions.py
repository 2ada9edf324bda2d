"""``~name``: refused of what every training has, which Hydra would leave without a value."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from sweeper.core.setting_words import example_of
from sweeper.core.settings import setting_names
from sweeper.errors import UsageError
from sweeper.hydra_edge.options import options
from sweeper.places import conf_dir


def check_deletions(arguments: Sequence[str]) -> None:
    """Raises UsageError for a deleted setting, or a deleted group of them."""
    settings = setting_names()
    groups = {name.partition(".")[0] for name in settings} | {"objective"}
    for argument in arguments:
        if not argument.startswith("~"):
            continue
        name = argument[1:].partition("=")[0].partition("@")[0]
        if name == "model":
            raise UsageError(
                f"{argument}: every training has a model; type +model=gpt2, or leave it out"
            )
        if name in groups:
            raise UsageError(
                f"{argument}: every training has a {name}; allowed are {', '.join(options(name))}; "
                f"type {name}={_own_option(name)}, or leave it out"
            )
        if name in settings:
            value = "null" if "own" in settings[name] else example_of(name, settings[name])
            raise UsageError(
                f"{argument}: a setting has a value; type {name}={value}, or leave it out"
            )


def _own_option(group: str) -> str:
    """The one that is there where nothing is typed; where the machine decides it, any."""
    chosen = yaml.safe_load((conf_dir() / "config.yaml").read_text())["defaults"]
    own = next((str(c[group]) for c in chosen if isinstance(c, dict) and group in c), "")
    return own if own in options(group) else options(group)[0]
