"""Puts the candidate's configuration in the place of a script's own, wherever the script shows it."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

from sweeper.core.script_config import substituted
from sweeper.core.spec import TrialSpec
from sweeper.worker.script.shown import Shown


class Substitution:
    """Where the script runs ``as_it_is`` its own stays. ``shown`` is where the script has it from."""

    def __init__(self, spec: TrialSpec) -> None:
        assert spec.script is not None
        self.acts = not spec.script.as_it_is
        self.spec = spec
        self.shown = Shown()

    def __call__(self, own: Mapping[str, Any], *, client_optimizer: bool = False) -> dict[str, Any]:
        """``client_optimizer``: the script makes its optimizer itself."""
        if self.acts:
            return substituted(own, self.spec.ds_config, client_optimizer=client_optimizer)
        return copy.deepcopy(dict(own))


def finite(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy without infinity, which JSON does not have: Accelerate prints every so many steps."""
    return {
        name: copy.deepcopy(value)
        for name, value in config.items()
        if not (isinstance(value, float) and not math.isfinite(value))
    }
