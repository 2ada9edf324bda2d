"""The user's own configuration as the study's baseline, and every choice beside it checked once."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from omegaconf import OmegaConf

from sweeper.core.ds_config import ops_needed
from sweeper.core.equivalence import decides_training
from sweeper.core.settings import Settings
from sweeper.core.space import Point, SearchSpace, as_overrides
from sweeper.errors import UsageError
from sweeper.hydra_edge.compose import Composer, choices_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """The baseline and its settings; ``every`` has those of each choice beside it; ``ops`` any of them needs."""

    baseline: Point
    settings: Settings
    every: tuple[Settings, ...]
    ops: tuple[str, ...]

    @property
    def other_training(self) -> list[str]:
        """The settings with which candidates train something else on purpose."""
        own = self.settings.flat()
        return sorted(
            {
                name
                for settings in self.every
                for name, value in settings.flat().items()
                if decides_training(name) and value != own.get(name)
            }
        )


def composed(composer: Composer, space: SearchSpace) -> Composed:
    """Composes each choice and both ends of each range once; raises UsageError for a bad one."""
    baseline = _baseline(composer, space)
    settings = composer.settings(as_overrides(baseline))
    every = [settings]
    for name, domain in space.parameters.items():
        for value in domain.bounds():
            every.append(composer.settings(as_overrides({**baseline, name: value})))
    ops = dict.fromkeys(op for each in every for op in ops_needed(each))
    return Composed(baseline=baseline, settings=settings, every=tuple(every), ops=tuple(ops))


def check_same_work(space: SearchSpace) -> None:
    """Raises UsageError for a parameter that gives candidates other work: their tokens/s would not compare."""
    for name, domain in space.parameters.items():
        group = name.lstrip("+").partition(".")[0]
        if group in ("workload", "script") or name.lstrip("+") == "model":
            values = ",".join((domain.points() or ())[:4])
            raise UsageError(
                f"{name}={values}: every candidate of a study does the same work; type one value, "
                "start a study for each, and python -m sweeper report <one> <other> compares them"
            )


def _baseline(composer: Composer, space: SearchSpace) -> Point:
    """The user's own options, as a point of the space where they lie in it.

    A parameter without a value of its own (``+callbacks=a,b``) takes its first.
    """
    added = {
        name: domain.points()[0]  # type: ignore[index]
        for name, domain in space.parameters.items()
        if name.startswith("+") and domain.points()
    }
    config = composer.config(as_overrides(added))
    choices = choices_of(config)
    point: dict[str, str] = {}
    for name, domain in space.parameters.items():
        if name in added:
            point[name] = added[name]
            continue
        own = choices.get(name)
        if own is None:
            own = OmegaConf.select(config, name)
        points = domain.points()
        if own is None and points is not None and "null" in points:
            own = "null"  # a knob that is left to DeepSpeed
        if own is None or (points is not None and str(own) not in points):
            return added  # the user's own value is not among those that are searched
        point[name] = str(own)
    return point


def without(space: SearchSpace, groups: Container[str]) -> SearchSpace:
    """The space without what would do nothing."""
    return SearchSpace(
        parameters={
            name: domain
            for name, domain in space.parameters.items()
            if name.partition(".")[0] not in groups
        }
    )
