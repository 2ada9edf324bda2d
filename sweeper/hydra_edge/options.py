"""The names of our groups and of the options in them."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from sweeper.hydra_edge.schema import SAMPLERS
from sweeper.places import conf_dir

# Hydra's own, and what is registered in code.
_NOT_IN_CONF = {
    "hydra/sweeper": ("optuna", "basic"),
    "hydra/sweeper/sampler": tuple(SAMPLERS),
    "hydra/launcher": ("basic",),
}


# Typed in another way (+script=train.py), and so in no list.
_NOT_LISTED = {"model": ("script",)}


@functools.cache
def known_groups() -> Sequence[str]:
    """Those that are typed, sorted."""
    ours = (path.name for path in conf_dir().iterdir() if path.is_dir() and path.name != "hydra")
    return (*sorted(name for name in ours if options(name)), *_NOT_IN_CONF)


def known_options(group: str) -> Sequence[str]:
    """None where it is no group that is known here."""
    return _NOT_IN_CONF.get(group) or options(group)


def is_option(group: str, word: str) -> bool:
    """Whether there is one of the name, listed or not."""
    return word in known_options(group) or word in _NOT_LISTED.get(group, ())


def group_of(name: str) -> str | None:
    """The group that is typed as ``zero`` or ``zero@package``; None for what is none."""
    group = name.partition("@")[0]
    return group if group in known_groups() else None


def options(group: str) -> list[str]:
    """The names of our own configurations in a group, ``hf/bert-base`` among the models'."""
    folder = conf_dir() / group
    return sorted(
        path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")
    )
