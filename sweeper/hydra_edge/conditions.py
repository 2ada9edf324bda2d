"""Which parameters of a search space do anything at a point: the rest are not sampled there."""

from __future__ import annotations

import yaml

from sweeper.core.plan import acts
from sweeper.core.settings import setting_names, with_values
from sweeper.core.space import Point, SearchSpace, as_overrides
from sweeper.hydra_edge.compose import Composer


class Conditions:
    """Takes its answers from the table of rules. A group (``zero``) always acts."""

    def __init__(self, composer: Composer, space: SearchSpace) -> None:
        self._composer = composer
        self._knobs = [name for name in space.parameters if name in setting_names()]

    def acts(self, name: str, point: Point) -> bool:
        """Beside ``point``, which holds what comes before ``name`` in the space."""
        if name not in self._knobs:
            return True
        options = {n: text for n, text in point.items() if n not in self._knobs}
        values = {n: yaml.safe_load(text) for n, text in point.items() if n in self._knobs}
        settings = self._composer.quick_settings(as_overrides(options))
        return acts(with_values(settings, values), name)


def options_first(space: SearchSpace) -> SearchSpace:
    """The same parameters, groups before single settings: these may depend on those."""
    ordered = sorted(space.parameters.items(), key=lambda item: item[0] in setting_names())
    return SearchSpace(parameters=dict(ordered))
