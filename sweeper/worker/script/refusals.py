"""Why DeepSpeed does not take a script's configuration, in words that say what to write or to type."""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping
from typing import Any

from sweeper.core.ds_config_mistakes import mistakes
from sweeper.core.one_line import one_line
from sweeper.core.resolved_config import KEYS_OF_SETTINGS
from sweeper.worker.failures import refused_keys, text_of

# Where DeepSpeed reads a configuration: what is raised there is about it.
_READ_IN = (
    "runtime/config.py",
    "runtime/config_utils.py",
    "runtime/precision_config.py",
    "runtime/zero/config.py",
    "runtime/zero/offload_config.py",
    "runtime/swap_tensor/aio_config.py",
    "runtime/tensor_parallel/config.py",
    "runtime/tensor_parallel/init_utils.py",
)
_CHECKED_BY = ("_do_sanity_check", "_assert_valid_mixed_precision_config")
_MADE_BY = ("_configure_basic_optimizer", "_configure_lr_scheduler", "_scheduler_from_config")


def unreadable(given: Any, error: BaseException) -> str:
    """Of what was to be a configuration, or a file with one."""
    is_there = isinstance(given, str) and os.path.exists(given)
    if isinstance(given, str) and not is_there:
        return (
            f"its configuration {one_line(given, longest=80)}: there is no such file in"
            f" {os.getcwd()}, and it is no base64; give an existing file in script.args"
        )
    if not is_there:
        return (
            f"its configuration is of type {type(given).__name__}, where a dictionary or a file's path is"
            " wanted; give it one in the script"
        )
    if os.path.isdir(given):
        return f"its configuration {given} is a folder; give a file in script.args"
    why = one_line(text_of(error)) or type(error).__name__
    return f"its configuration {given} cannot be read: {why}; mend it"


def refusal(config: Any, error: BaseException) -> str:
    """ "" where ``error`` is about something else than the configuration that was read."""
    found = mistakes(config)
    if found:
        return f"its configuration: {'; '.join(found)}"
    if refused := refused_keys(error):
        return f"{refused}; mend it{_instead(refused)}"
    frames = traceback.extract_tb(error.__traceback__)
    functions = [frame.name for frame in frames]
    words = one_line(text_of(error))
    if "DtypeEnum" in words:
        return f"its configuration is refused by DeepSpeed: {words}; dtypes are fp32, fp16 and bf16"
    if set(functions) & set(_MADE_BY) and "empty parameter list" not in words:
        return f"{_made(config, functions)} cannot be made here: {type(error).__name__}: {words}; give it another"
    if frames and (
        frames[-1].filename.replace(os.sep, "/").endswith(_READ_IN) or functions[-1] in _CHECKED_BY
    ):
        return (
            f"its configuration is refused by DeepSpeed: {words or type(error).__name__}; mend it"
        )
    return ""


def _instead(refused: str) -> str:
    """What may be typed in the place of a section, or of a key in it."""
    if "section zero_optimization" not in refused:
        precision = any(f"section {name} " in refused for name in ("fp16", "bf16"))
        return (
            ", or type precision=fp32 (or bf16, fp16, autocast_bf16) in its place"
            if precision
            else ""
        )
    if "offload" in refused:
        return ", or type offload=none (or optimizer) in its place"
    named = next((n for n, path in KEYS_OF_SETTINGS.items() if f" {path[-1]}:" in refused), None)
    return f", or type {named}=<a value> in its place" if named else ""


def _made(config: Mapping[str, Any], functions: list[str]) -> str:
    section = "optimizer" if "_configure_basic_optimizer" in functions else "scheduler"
    return f"the {section} of its configuration, {one_line(str(config.get(section)), longest=120)},"
