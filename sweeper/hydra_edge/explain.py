"""``sweeper explain``: what a trial would be, whether it fits, and what would make it fit; runs nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig

from sweeper.core.machine import Machine
from sweeper.core.memory.calibration import Calibration, MemoryEstimate, fits
from sweeper.core.memory.model import MemoryNeed, memory_need
from sweeper.core.model_profile import ModelProfile
from sweeper.core.outcome import Infeasible
from sweeper.core.plan import Plan, memory_limit_bytes, plan
from sweeper.core.settings import Settings
from sweeper.core.spec import TrialSpec
from sweeper.core.what_fits import Answer, Fit, Need, largest_micro_size, sufficient_changes
from sweeper.errors import UsageError
from sweeper.hydra_edge.compose import settings_of
from sweeper.hydra_edge.messages import EXPECTED, usage_error
from sweeper.hydra_edge.schema import register
from sweeper.places import conf_dir
from sweeper.run.dry_run import check_model
from sweeper.run.machine import device_count, quick_look, thorough_look
from sweeper.run.model_profile import Profiled, profile_of

_ON_CUDA = "hardware=cuda"
_HARDWARE = ("hardware", "hardware.accelerator")


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """``limit_bytes`` and ``host_bytes`` (of a node) are None where they are not known."""

    need: MemoryNeed
    estimate: MemoryEstimate
    limit_bytes: int | None
    host_bytes: int | None
    fit: Fit | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """``memory`` is None where the plan forbids the settings or the model cannot be traced.

    ``answers`` are what would make it fit, ``larger_micro_size`` what fits too.
    """

    arguments: tuple[str, ...]
    plan: Plan
    machine: Machine
    imagined: bool
    profiled: Profiled
    memory: Memory | None
    answers: tuple[Answer, ...]
    larger_micro_size: int | None


def explain(arguments: Sequence[str]) -> Explanation:
    """Composes what a trial with these overrides would be, and judges it.

    Raises UsageError as a trial would, before anything else is done.
    """
    settings = compose(arguments)
    check_model(settings)
    look = _looker(settings)
    planned = plan(settings, look(settings))
    found = profile_of(settings)
    profile = found.profile
    allowed = not isinstance(planned.ready, Infeasible)
    memory = _memory(planned.settings, look, profile) if profile and allowed else None
    explanation = Explanation(
        arguments=tuple(arguments),
        plan=planned,
        machine=look(settings),
        imagined=is_imagined(settings),
        profiled=found,
        memory=memory,
        answers=(),
        larger_micro_size=None,
    )
    if profile is None or _limit(settings, look) is None:
        return explanation
    need = _needs(look, profile)
    if isinstance(planned.ready, TrialSpec) and memory and memory.fit and memory.fit.enough:
        return replace(explanation, larger_micro_size=largest_micro_size(settings, need))
    return replace(explanation, answers=sufficient_changes(settings, need))


def compose(arguments: Sequence[str]) -> Settings:
    """The settings that a trial with these overrides would have.

    A GPU that is described by its memory alone brings a GPU's workload and precision.
    """
    for argument in arguments:
        if argument.startswith("-"):
            raise UsageError(
                f"explain {argument}: takes settings alone; type python -m sweeper explain +model=gpt2"
            )
    register()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return settings_of(_config(_with_hardware(arguments)))
    except EXPECTED as error:
        raise usage_error(error, arguments) from error


def _config(arguments: Sequence[str]) -> DictConfig:
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    for override in OverridesParser.create().parse_overrides(list(arguments)):
        if override.is_sweep_override():
            raise UsageError(
                f"{override.input_line}: explain is of one trial, not of a search; "
                f"type {override.get_key_element()}=<one value>"
            )
    return hydra.compose_config("config", list(arguments), run_mode=RunMode.RUN)


def _with_hardware(arguments: Sequence[str]) -> list[str]:
    typed = {argument.lstrip("+").partition("=")[0] for argument in arguments}
    if "hardware.device_memory" in typed and typed.isdisjoint(_HARDWARE):
        return [_ON_CUDA, *arguments]
    return list(arguments)


def is_imagined(settings: Settings) -> bool:
    """Whether the hardware is described and need not be there."""
    hardware = settings.hardware
    return hardware.accelerator == "cuda" and hardware.device_memory is not None


def _looker(settings: Settings) -> Callable[[Settings], Machine]:
    """What is known of the machine that other settings, with more ranks perhaps, would run on."""
    if is_imagined(settings):
        quick = replace(
            quick_look(),
            device_memory_bytes=settings.hardware.device_memory_bytes,
            bf16=True,
            fp16=True,
            libaio=None,
        )
        return lambda changed: replace(quick, devices=changed.hardware.ranks)
    if settings.hardware.accelerator == "cuda":
        there = thorough_look("cuda")[0] if device_count() else replace(quick_look(), devices=0)
        return lambda changed: there
    here = quick_look()
    return lambda changed: here


def _limit(settings: Settings, look: Callable[[Settings], Machine]) -> int | None:
    machine = look(settings)
    return memory_limit_bytes(settings, machine) or machine.device_memory_bytes


def _memory(
    settings: Settings, look: Callable[[Settings], Machine], profile: ModelProfile
) -> Memory:
    """Of settings that the rules allow."""
    need = memory_need(settings, profile)
    estimate = Calibration().estimate(settings, need)
    limit_bytes = _limit(settings, look)
    host_bytes = None if is_imagined(settings) else look(settings).host_memory_bytes
    fit = None
    if limit_bytes is not None:
        # Where they share one memory, the limit is the host's already.
        lacks_host = (
            not need.shared
            and host_bytes is not None
            and need.host_bytes * settings.hardware.ranks > host_bytes
        )
        fit = Fit(
            mean_bytes=estimate.mean_bytes + estimate.untouched_bytes,
            host_bytes=0 if need.shared else need.host_bytes,
            probability=0.0 if lacks_host else estimate.probability_below(limit_bytes),
            enough=fits(estimate, limit_bytes) and not lacks_host,
        )
    return Memory(
        need=need, estimate=estimate, limit_bytes=limit_bytes, host_bytes=host_bytes, fit=fit
    )


def _needs(look: Callable[[Settings], Machine], profile: ModelProfile) -> Need:
    def need(settings: Settings) -> Fit | None:
        planned = plan(settings, look(settings))
        if not isinstance(planned.ready, TrialSpec):
            return None
        return _memory(planned.settings, look, profile).fit

    return need
