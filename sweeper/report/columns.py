"""The columns of the table of trials: name, type, unit and meaning, and what each may hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeAlias, get_args, get_origin, get_type_hints

from sweeper.core.outcome import kinds
from sweeper.core.settings import Settings

# As pandas names them; a missing number of float64 is NaN, of the other types pandas.NA.
Dtype: TypeAlias = Literal["string", "Int64", "float64", "boolean", "datetime64[ns, UTC]"]
_HELD: dict[Dtype, type | tuple[type, ...]] = {
    "string": str,
    "Int64": int,
    "float64": (int, float),
    "boolean": bool,
    "datetime64[ns, UTC]": (int, float),  # seconds since 1970
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """``unit`` is empty where the value has none."""

    name: str
    dtype: Dtype
    unit: str = ""
    meaning: str

    def checked(self, value: Any) -> Any:
        """What is written of a value; a TypeError is a bug of whoever made the row."""
        if value is None or value == "":
            return None
        if self.dtype == "string" and not isinstance(value, str):
            value = json.dumps(value)  # a list of betas; a model's argument of several types
        held = isinstance(value, _HELD[self.dtype])
        if not held or (isinstance(value, bool) and self.dtype != "boolean"):
            raise TypeError(f"column {self.name}: {value!r} is no {self.dtype}")
        return value


def _text(name: str, meaning: str) -> Column:
    return Column(name=name, dtype="string", meaning=meaning)


def _count(name: str, unit: str, meaning: str) -> Column:
    return Column(name=name, dtype="Int64", unit=unit, meaning=meaning)


def _number(name: str, unit: str, meaning: str) -> Column:
    return Column(name=name, dtype="float64", unit=unit, meaning=meaning)


BEFORE_SETTINGS = (
    _text("study", "the name of the study's folder"),
    _count("trial", "", "the trial's number; 0 is the baseline, and its folder is `trials/0000`"),
    _text("outcome", f"how it ended: {', '.join(f'`{kind}`' for kind in kinds())}"),
    _text("reason", "why it was not measured, or was stopped"),
)
AFTER_SETTINGS = (
    _number("tokens_per_second_median", "tokens/s", "of all ranks, over the timed steps"),
    _number("tokens_per_second_mad", "tokens/s", "median absolute deviation of the steps"),
    _number("tokens_per_second_low", "tokens/s", "lower end of the median's 95 % interval"),
    _number("tokens_per_second_high", "tokens/s", "upper end of the median's 95 % interval"),
    _number("samples_per_second_median", "samples/s", "of all ranks, over the timed steps"),
    _number("step_seconds_median", "s", "one optimizer step of the slowest rank"),
    _count("measured_steps", "steps", "that were timed"),
    _count("skipped_steps", "steps", "in which the optimizer skipped its update (fp16 overflow)"),
    _number("forward_seconds", "s", "of a step's forward passes, in steps taken apart"),
    _number("backward_seconds", "s", "of its backward passes"),
    _number("optimizer_seconds", "s", "of its update"),
    _number("rest_seconds", "s", "of everything else in it"),
    _number("tflops_per_device", "TFLOP/s", "of the model on one rank, recomputation not counted"),
    _number("mfu", "share", "of the device's published peak; missing where none is published"),
    _number("loss_difference", "share", "the losses' largest distance from the baseline's"),
    Column(
        name="trains_differently",
        dtype="boolean",
        meaning="whether that is more than the tolerance: such a trial cannot win",
    ),
    _count("peak_device_allocated_bytes", "bytes", "of the fullest rank's device, by tensors"),
    _count("peak_device_reserved_bytes", "bytes", "of the fullest rank's device, by the allocator"),
    _count("peak_host_resident_bytes", "bytes", "of the fullest rank's process on the host"),
    _count("device_peak_active_bytes", "bytes", "in blocks that tensors use, free ends included"),
    _count("device_used_bytes", "bytes", "of the device in use by everybody"),
    _count("host_proportional_bytes", "bytes", "on the host, with its part of shared pages (PSS)"),
    _count("host_pinned_bytes", "bytes", "of page-locked host memory"),
    _count("cgroup_peak_bytes", "bytes", "peak of the control group, where there is one"),
    _count("memory_limit_bytes", "bytes", "what one rank may use"),
    _count("alloc_retries", "", "allocations that worked once the cache was flushed: it thrashes"),
    _number("wall_seconds", "s", "from start to end of the trial, start-up included"),
    Column(
        name="started_at",
        dtype="datetime64[ns, UTC]",
        unit="UTC",
        meaning="when it began, to the millisecond",
    ),
    _text("environment", "device, versions and threads; compare only rows in which it is the same"),
    _text("notes", "what the plan changed or left out"),
    _text("overrides", "the options as they are typed"),
)


def columns_of(names: Iterable[str], settings: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    """Of a table that shows the settings ``names`` of trials with these ``settings``."""
    shown = [
        setting_columns().get(name) or _free(name, [s.get(name) for s in settings])
        for name in names
    ]
    return (*BEFORE_SETTINGS, *shown, *AFTER_SETTINGS)


@cache
def setting_columns() -> dict[str, Column]:
    """Of every setting that has a type of its own, by its dotted name."""
    groups = get_type_hints(Settings)
    found = {}
    for group, kind in groups.items():
        if not is_dataclass(kind):
            continue
        hints = get_type_hints(kind)
        for field in fields(kind):
            found[f"{group}.{field.name}"] = Column(
                name=f"{group}.{field.name}",
                dtype=_dtype_of_hint(hints[field.name]),
                meaning=field.metadata["help"],
            )
    return found


def _dtype_of_hint(hint: Any) -> Dtype:
    kinds = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    return _dtype_of_types({kind for kind in kinds if kind is not NoneType})


def _free(name: str, values: Sequence[Any]) -> Column:
    """An argument of a model or a raw DeepSpeed key: its type is that of its values."""
    group = name.partition(".")[0]
    meaning = "an argument of the model" if group == "model" else "a key of DeepSpeed's own"
    dtype = _dtype_of_types({type(value) for value in values if value is not None})
    return Column(name=name, dtype=dtype, meaning=meaning)


def _dtype_of_types(types: set[type]) -> Dtype:
    if types == {bool}:
        return "boolean"
    if types == {int}:
        return "Int64"
    return "float64" if types and types <= {int, float} else "string"
