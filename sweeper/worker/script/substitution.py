"""Puts the candidate's configuration in the place of a script's own, wherever the script shows it."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

from sweeper.core.script_config import substituted
from sweeper.core.spec import TrialSpec


class Substitution:
    """``outermost`` is the first configuration that was made: nearest to the file that the user has.

    What frameworks hand on has their own keys in it. Where the script runs ``as_it_is`` it is the script's.
    """

    def __init__(self, spec: TrialSpec) -> None:
        assert spec.script is not None
        self.acts = not spec.script.as_it_is
        self.spec = spec
        self.outermost: dict[str, Any] | None = None

    def __call__(
        self,
        own: Mapping[str, Any],
        *,
        client_optimizer: bool = False,
        is_whole: bool = True,
    ) -> dict[str, Any]:
        """``is_whole``: it is what the engine will train with, as far as the script has made it."""
        config = copy.deepcopy(dict(own))
        if self.acts:
            config = substituted(own, self.spec.ds_config, client_optimizer=client_optimizer)
        if is_whole and self.outermost is None:
            self.outermost = finite(config)
        return config


def finite(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy without infinity, which JSON does not have: Accelerate prints every so many steps."""
    return {
        name: copy.deepcopy(value)
        for name, value in config.items()
        if not (isinstance(value, float) and not math.isfinite(value))
    }
