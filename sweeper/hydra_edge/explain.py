"""``sweeper explain``: what a trial would be, whether it fits, and what would make it fit; runs nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig

from sweeper.core.judgement import Judgement, judge
from sweeper.core.ladders import CHECKPOINTING, Change
from sweeper.core.machine import Machine
from sweeper.core.memory.model import Phases, memory_phases
from sweeper.core.memory_limit import DEVICE, HOST, memory_limit
from sweeper.core.model_profile import ModelProfile
from sweeper.core.nearest_layout import nearest_layouts
from sweeper.core.outcome import Infeasible, Unsupported
from sweeper.core.plan import Plan, plan, refusals
from sweeper.core.setting_words import example_of
from sweeper.core.settings import Settings, setting_names, with_values
from sweeper.core.spec import TrialSpec
from sweeper.core.what_fits import (
    Answer,
    Fit,
    Found,
    Need,
    largest_micro_size,
    shorter_sequence,
    sufficient_changes,
    sufficient_limit,
)
from sweeper.errors import UsageError
from sweeper.hydra_edge.compose import settings_of
from sweeper.hydra_edge.default_hardware import note_on_hardware
from sweeper.hydra_edge.explain_hardware import Hardware, hardware_of
from sweeper.hydra_edge.expressions import domain_of
from sweeper.hydra_edge.hydra_versions import VERSION_BASE
from sweeper.hydra_edge.messages import is_expected, usage_error
from sweeper.hydra_edge.schema import register
from sweeper.hydra_edge.typed import check, in_our_words
from sweeper.places import conf_dir
from sweeper.run.dry_run import check_model
from sweeper.run.model_profile import Profiled, profile_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """``memory`` and its ``phases`` are None where the model cannot be traced; ``recomputed`` has the
    phases with the other ways of checkpointing, as they are typed.

    ``notes`` are on what was typed. ``refusals`` are all that is against the settings. Where the plan forbids them, ``nearest`` are
    changes of a setting or two that it allows, and what follows is of the first. ``found`` is what
    would make it fit, ``shorter`` a sequence with which the closest of it would, ``larger_limit``
    what would where no settings do, ``larger_micro_size`` what fits too. ``closest`` is the judgement
    on what comes closest, of the settings themselves where no change does.
    """

    arguments: tuple[str, ...]
    plan: Plan
    machine: Machine
    imagined: bool
    profiled: Profiled
    notes: tuple[str, ...] = ()
    refusals: tuple[Infeasible | Unsupported, ...] = ()
    nearest: tuple[tuple[Change, ...], ...] = ()
    memory: Judgement | None = None
    phases: Phases | None = None
    recomputed: Mapping[str, Phases] = field(default_factory=dict)
    found: Found | None = None
    shorter: Answer | None = None
    larger_limit: Answer | None = None
    closest: Judgement | None = None
    larger_micro_size: int | None = None

    @property
    def forbidden(self) -> bool:
        """Whether no change is known with which the plan allows the settings."""
        return isinstance(self.plan.ready, Infeasible) and not self.nearest


def explain(arguments: Sequence[str]) -> Explanation:
    """Composes what a trial with these overrides would be, and judges it.

    Raises UsageError as a trial would, before anything else is done.
    """
    settings = compose(arguments)
    check_model(settings)
    hardware = hardware_of(settings)
    planned = plan(settings, hardware.machine(settings))
    profiled = profile_of(settings)
    explanation = Explanation(
        arguments=tuple(arguments),
        plan=planned,
        machine=hardware.machine(settings),
        imagined=hardware.imagined,
        profiled=profiled,
        notes=tuple(filter(None, [note_on_hardware(arguments)])),
        refusals=_refusals(settings, hardware),
    )
    if isinstance(planned.ready, Infeasible):
        nearest = nearest_layouts(settings, lambda changed: len(_refusals(changed, hardware)))
        explanation = replace(explanation, nearest=nearest)
        for change in nearest[0] if nearest else ():
            settings = with_values(settings, change.values)
    if profiled.profile is None:
        return explanation
    explanation = replace(explanation, **_memory(settings, hardware, profiled.profile))
    return _with_advice(explanation, settings, hardware, profiled.profile)


def _memory(settings: Settings, hardware: Hardware, profile: ModelProfile) -> dict[str, Any]:
    """The explanation's fields, whatever the rules say of the settings."""
    machine = hardware.machine(settings)
    acting = plan(settings, machine).settings
    others = {
        typed: memory_phases(with_values(acting, values), profile)
        for typed, values in CHECKPOINTING.items()
        if values["checkpointing.every_nth_block"] != acting.checkpointing.every_nth_block
        # Of a pipeline it would be another stage that needs most, and its activations beside these.
        and acting.parallel.pipeline == 1
    }
    return {
        "memory": judge(acting, profile, machine, hardware.node(acting)),
        "phases": memory_phases(acting, profile),
        "recomputed": others,
    }


def _with_advice(
    explanation: Explanation, settings: Settings, hardware: Hardware, profile: ModelProfile
) -> Explanation:
    """What would make it fit; of what surely does, how much larger a micro-batch may be."""
    if memory_limit(settings, hardware.machine(settings)) is None:
        return explanation
    need, memory = needs_of(hardware, profile), explanation.memory
    fits = memory is not None and memory.fit is not None and memory.fit.enough
    if fits and not explanation.forbidden and not isinstance(explanation.plan.ready, Unsupported):
        return replace(explanation, larger_micro_size=largest_micro_size(settings, need))
    found, shorter = sufficient_changes(settings, need), None
    closest = memory
    if found.closest and memory and memory.fit and found.closest.fit.fullness < memory.fit.fullness:
        acting = plan(found.closest.settings, hardware.machine(found.closest.settings)).settings
        closest = judge(acting, profile, hardware.machine(acting), hardware.node(acting))
    if found.closest and not found.answers:
        shorter = shorter_sequence(found.closest.settings, need)
    larger = None
    if memory is not None and memory.limit is not None and memory.base_is_too_large:
        larger = _larger_limit(settings, memory.limit.set_by, need)
    return replace(explanation, found=found, shorter=shorter, larger_limit=larger, closest=closest)


def _larger_limit(settings: Settings, set_by: str, need: Need) -> Answer | None:
    """None where it is not a setting that binds, but what there is."""
    return None if set_by in (DEVICE, HOST) else sufficient_limit(settings, set_by, need)


def _refusals(settings: Settings, hardware: Hardware) -> tuple[Infeasible | Unsupported, ...]:
    machine = hardware.machine(settings)
    return tuple(refusals(plan(settings, machine).settings, machine))


def needs_of(hardware: Hardware, profile: ModelProfile) -> Need:
    """What settings need of that hardware, where it allows them."""

    def need(settings: Settings) -> Fit | None:
        machine = hardware.machine(settings)
        planned = plan(settings, machine)
        if not isinstance(planned.ready, TrialSpec):
            return None
        return judge(planned.settings, profile, machine, hardware.node(settings)).fit

    return need


def compose(arguments: Sequence[str]) -> Settings:
    """The settings that a trial with these overrides would have."""
    for argument in arguments:
        if argument.startswith("-"):
            raise UsageError(
                f"explain {argument}: takes settings alone; type python -m sweeper explain +model=gpt2"
            )
    register(arguments)
    named = in_our_words(arguments)
    _check_one_trial(named)
    check(named)
    try:
        with initialize_config_dir(str(conf_dir()), **VERSION_BASE):
            return settings_of(_config(named))
    except Exception as error:
        if not is_expected(error):
            raise
        raise usage_error(error, named) from error


def _config(arguments: Sequence[str]) -> DictConfig:
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    return hydra.compose_config("config", list(arguments), run_mode=RunMode.RUN)


def _check_one_trial(arguments: Sequence[str]) -> None:
    parser = OverridesParser.create()
    for argument in arguments:
        with contextlib.suppress(OverrideParseException):  # that is told with all others like it
            (override,) = parser.parse_overrides([argument])
            if override.is_sweep_override():
                raise UsageError(
                    f"{argument}: explain is of one trial, not of a search; "
                    f"type {override.get_key_element()}={_one_of(override)}"
                )


def _one_of(override: Override) -> str:
    """The first of what would be searched; where that is nothing, a value that the name may have."""
    try:
        return domain_of(override).bounds()[0]
    except UsageError:
        name = override.key_or_group
        return example_of(name, setting_names().get(name, {}))
