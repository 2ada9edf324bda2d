"""A script's own DeepSpeed configuration with a candidate's settings put in its place."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from typing import Any

from sweeper.core.ds_config_mistakes import OFF_IN_TRIALS
from sweeper.core.fitting_batch import fitting_batch
from sweeper.core.resolved_config import KEYS_OF_SETTINGS, Batch, Resolved

Resolve = Callable[[Mapping[str, Any]], Resolved]

_BATCH = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
_PRECISION = ("bf16", "bfloat16", "fp16", "torch_autocast", "amp")
_OFFLOADS = ("offload_optimizer", "offload_param")
# Section -> the keys of before there was such a section
_LEGACY = {
    "offload_optimizer": ("cpu_offload", "cpu_offload_use_pin_memory"),
    "offload_param": ("cpu_offload_param",),
}
# What decides how the script trains stays the script's.
_THE_SCRIPTS = ("optimizer", "scheduler", "gradient_clipping")
# Keys that no setting names, which DeepSpeed refuses at other stages than these.
_BOUND_TO_STAGES = {"compute_grad_norm": (1, 2), "zenflow": (1, 2, 3)}
# What writes or prints on the user's behalf, ends a run, or slows the steps that are timed.
_SIDE_EFFECTS = (
    *OFF_IN_TRIALS,
    "wall_clock_breakdown",
    "memory_breakdown",
    "dump_state",
)


def substituted(
    own: Mapping[str, Any],
    candidate: Mapping[str, Any],
    resolve: Resolve,
    *,
    left_alone: Collection[str] = (),
) -> dict[str, Any]:
    """``own`` where DeepSpeed makes the same of it as of ``candidate``, else what the candidate says.

    Optimizer, scheduler and clipping stay the script's; so does every key that no setting names, and those of
    the settings ``left_alone``, at which DeepSpeed does not look. Doing it twice changes nothing.
    """
    own = without_refused(own, resolve)  # what was typed stands in their place
    config = copy.deepcopy(dict(own))
    before, wanted = resolve(own), resolve(candidate)
    if wanted.batch is not None and before.batch != wanted.batch:
        config.update(wanted.batch.keys())
    _put_zero(config, candidate, before, wanted, left_alone)
    _put_precision(config, candidate, before, wanted)
    for setting, path in KEYS_OF_SETTINGS.items():
        if path[0] in ("fp16", "bf16") and wanted.precision != before.precision:
            continue  # replaced as a whole
        if before.values[setting] != wanted.values[setting] and setting not in left_alone:
            _put_value(config, path, _value_at(candidate, path), setting in before.given)
    if before.communication_dtype != wanted.communication_dtype:
        _put_value(config, ("communication_data_type",), wanted.communication_dtype, True)
    _put_raw(config, candidate)
    return config


def with_typed(
    own: Mapping[str, Any],
    candidate: Mapping[str, Any],
    resolve: Resolve,
    typed: Collection[str],
    *,
    ranks: int,
    own_accumulation: bool = False,
) -> dict[str, Any]:
    """``own`` with what was typed in its place, and nothing else of ``candidate``.

    ``typed`` are names of settings or of their groups. ``own_accumulation``: the script is given the
    accumulation steps as an argument, so that its configuration's are its own affair.
    """
    config = copy.deepcopy(dict(own))
    before, wanted = resolve(without_refused(own, resolve)), resolve(candidate)
    groups = {name.partition(".")[0] for name in typed}
    batch = _typed_batch(own, before, wanted, typed, ranks)
    if batch is not None and own_accumulation:
        steps = before.batch.accumulation if before.batch else 1
        batch = Batch(train=batch.micro * steps * ranks, micro=batch.micro, accumulation=steps)
    if batch is not None:
        config.update(batch.keys())
    if groups & {"zero", "offload"}:
        zero = _plain_zero(config, before)
        if "zero" in groups:
            zero["stage"] = wanted.stage
            _drop_what_is_bound(zero, wanted.stage)
        if "offload" in groups:
            for section in _OFFLOADS:
                _put_section(zero, section, candidate["zero_optimization"].get(section))
        config["zero_optimization"] = zero
    if "precision" in groups:
        _replace_precision(config, candidate)
    for setting, path in KEYS_OF_SETTINGS.items():
        value = _value_at(candidate, path)
        if setting.partition(".")[0] in groups and value is not None:
            _put_value(config, path, value, False)
    if "comm" in groups:
        _put_value(config, ("communication_data_type",), wanted.communication_dtype, True)
    _put_raw(config, candidate)
    return config


_READ = ("zero_optimization", "bf16", "bfloat16", "fp16", "torch_autocast", "aio", "data_types")
_READ_ALONE = ("communication_data_type",)


def without_refused(own: Mapping[str, Any], resolve: Resolve) -> dict[str, Any]:
    """``own`` without the sections, or the keys in them, that DeepSpeed refuses to read."""
    config = dict(own)
    if _is_read(config, resolve):
        return config
    for name in (*_READ, *_READ_ALONE):
        if name not in config or _is_read({name: config[name]}, resolve):
            continue
        section = config.pop(name)
        if isinstance(section, Mapping):
            kept = {n: v for n, v in section.items() if _is_read({name: {n: v}}, resolve)}
            if _is_read({name: kept}, resolve):
                config[name] = kept
    return config


def _is_read(config: Mapping[str, Any], resolve: Resolve) -> bool:
    try:
        resolve(config)
    except Exception:
        return False
    return True


def _typed_batch(
    own: Mapping[str, Any],
    before: Resolved,
    wanted: Resolved,
    typed: Collection[str],
    ranks: int,
) -> Batch | None:
    """The global batch stays where only the micro-batch was typed, and the other way round."""
    takes_micro, takes_train = "batch.micro_size" in typed, "workload.global_batch_size" in typed
    takes_micro = takes_micro or "batch" in typed
    if wanted.batch is None or not (takes_micro or takes_train):
        return None
    train, micro = wanted.batch.train, wanted.batch.micro
    if not takes_train:
        own_train = _given_or(before.batch.train if before.batch else None, own, _BATCH[0])
        if own_train is None and "auto" in [own.get(name) for name in _BATCH]:
            return None  # a framework's to fill in
        if own_train is None:
            steps = own.get(_BATCH[2])
            own_train = micro * ranks * (steps if isinstance(steps, int) and steps > 0 else 1)
        train = own_train
    if not takes_micro:
        own_micro = _given_or(before.batch.micro if before.batch else None, own, _BATCH[1])
        if own_micro is not None and train % ranks == 0:
            micro = fitting_batch(train, own_micro, ranks)[1]
    return Batch(train=train, micro=micro, accumulation=max(train // (micro * ranks), 1))


def _given_or(inferred: int | None, own: Mapping[str, Any], name: str) -> int | None:
    given = own.get(name)
    known = given if isinstance(given, int) and not isinstance(given, bool) else inferred
    return known if known is not None and known > 0 else None


def without_side_effects(config: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What a probe or a trial is given of a configuration, and what is switched off in it.

    A trial logs nowhere, profiles nothing and ends when it is ended.
    """
    quiet = {name: value for name, value in config.items() if name not in _SIDE_EFFECTS}
    off = tuple(name for name in _SIDE_EFFECTS if _is_on(config.get(name)))
    return quiet, off


def _is_on(section: Any) -> bool:
    return bool(section.get("enabled")) if isinstance(section, Mapping) else bool(section)


def _put_zero(
    config: dict[str, Any],
    candidate: Mapping[str, Any],
    before: Resolved,
    wanted: Resolved,
    left_alone: Collection[str],
) -> None:
    stage = wanted.stage
    devices = {
        "offload_optimizer": (before.optimizer_device(stage), wanted.optimizer_device(stage)),
        "offload_param": (before.param_device(stage), wanted.param_device(stage)),
    }
    moves = [section for section, (own, theirs) in devices.items() if own != theirs]
    path_moves = (
        "nvme" in (wanted.offload_optimizer, wanted.offload_param)
        and before.nvme_path != wanted.nvme_path
    )
    if before.stage == stage and not moves and not path_moves:
        return
    zero = _plain_zero(config, before)
    if before.stage != stage:
        zero["stage"] = stage
        _drop_what_is_bound(zero, stage)
        if stage < 3:  # a ratio is refused there, whether or not anything is offloaded
            for section in _OFFLOADS:
                if isinstance(zero.get(section), Mapping):
                    zero[section] = {n: v for n, v in zero[section].items() if n != "ratio"}
    for section in _OFFLOADS:
        if section in moves or path_moves:
            _put_section(zero, section, candidate["zero_optimization"].get(section))
    config["zero_optimization"] = zero


def _plain_zero(config: Mapping[str, Any], resolved: Resolved) -> dict[str, Any]:
    """The section in today's form: ``true`` is stage 1."""
    section = config.get("zero_optimization")
    return dict(section) if isinstance(section, Mapping) else {"stage": resolved.stage}


def _drop_what_is_bound(zero: dict[str, Any], stage: int) -> None:
    for name, stages in _BOUND_TO_STAGES.items():
        if stage not in stages:
            zero.pop(name, None)


def _put_section(zero: dict[str, Any], section: str, wanted: Any) -> None:
    for name in (section, *_LEGACY[section]):
        zero.pop(name, None)
    if isinstance(wanted, Mapping):
        zero[section] = dict(wanted)


def _put_precision(
    config: dict[str, Any], candidate: Mapping[str, Any], before: Resolved, wanted: Resolved
) -> None:
    if before.precision != wanted.precision:
        _replace_precision(config, candidate)


def _replace_precision(config: dict[str, Any], candidate: Mapping[str, Any]) -> None:
    for name in _PRECISION:
        config.pop(name, None)
    config.update({name: dict(candidate[name]) for name in _PRECISION if name in candidate})


def _value_at(config: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    place: Any = config
    for name in path:
        if not isinstance(place, Mapping):
            return None
        place = place.get(name)
    return place


def _put_value(config: dict[str, Any], path: tuple[str, ...], value: Any, is_given: bool) -> None:
    """``is_given``: it stands in the script's configuration, so that no value means to take it out."""
    if value is None and not is_given:
        return
    *sections, last = path
    if sections[:1] == ["bf16"] and "bf16" not in config and "bfloat16" in config:
        sections = ["bfloat16"]
    place = config
    for name in sections:
        if not isinstance(place.get(name), Mapping):
            if value is None:
                return
            place[name] = {}
        place[name] = dict(place[name])
        place = place[name]
    place.pop(last.removeprefix("stage3_"), None)  # DeepSpeed takes either name
    if value is None:
        place.pop(last, None)
    else:
        place[last] = value


def _put_raw(config: dict[str, Any], candidate: Mapping[str, Any]) -> None:
    """What only a raw key that was typed says: sections and keys that no setting writes."""
    named = {path for path in KEYS_OF_SETTINGS.values()}
    for name, value in candidate.items():
        if name in (*_BATCH, *_THE_SCRIPTS, "communication_data_type"):
            continue
        if name == "zero_optimization":
            ours = {n: v for n, v in value.items() if n not in ("stage", *_OFFLOADS)}
        elif name in (*_PRECISION, "aio", "data_types") and isinstance(value, Mapping):
            ours = {n: v for n, v in value.items() if n not in _WRITTEN_BY_SETTINGS}
        else:
            _merge(config, name, value)
            continue
        ours = {n: v for n, v in ours.items() if (name, n) not in named}
        if ours:
            _merge(config, name, ours)


_WRITTEN_BY_SETTINGS = ("enabled", "dtype", "initial_scale_power")


def _merge(config: dict[str, Any], name: str, value: Any) -> None:
    ours = config.get(name)
    both = isinstance(value, Mapping) and isinstance(ours, Mapping)
    config[name] = {**ours, **value} if both else value  # type: ignore[dict-item]
