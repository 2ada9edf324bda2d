"""Which parameters of a search space do anything at a point: the rest are not sampled there."""

from __future__ import annotations

import functools

from sweeper.core.plan import acts
from sweeper.core.settings import setting_names
from sweeper.core.space import FloatRange, IntRange, Point, SearchSpace, as_overrides
from sweeper.hydra_edge.compose import Composer


class Conditions:
    """Takes its answers from the table of rules. A group (``zero``) always acts."""

    def __init__(self, composer: Composer, space: SearchSpace) -> None:
        self._composer = composer
        self._knobs = {name for name in space.parameters if name in setting_names()}
        # A rule looks for one of a few values, or for the zero that turns something off: of a range of
        # very many any other value stands for all.
        self._stands_for = {
            name: str(domain.high)
            for name, domain in space.parameters.items()
            if isinstance(domain, IntRange | FloatRange) and domain.points() is None
        }
        self._acts = functools.lru_cache(maxsize=100_000)(self._look_up)

    def acts(self, name: str, point: Point) -> bool:
        """Beside ``point``, which holds what comes before ``name`` in the space."""
        if name not in self._knobs:
            return True
        alike = {n: self._stands_for.get(n, text) for n, text in point.items()}
        return self._acts(name, as_overrides(alike))

    def _look_up(self, name: str, overrides: tuple[str, ...]) -> bool:
        return acts(self._composer.quick_settings(overrides), name)


def options_first(space: SearchSpace) -> SearchSpace:
    """The same parameters, groups before single settings: these may depend on those."""
    ordered = sorted(space.parameters.items(), key=lambda item: item[0] in setting_names())
    return SearchSpace(parameters=dict(ordered))
