"""Stands in for ``deepspeed.initialize`` and ``deepspeed.zero.Init`` while a user's script runs."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any

import deepspeed
from deepspeed.runtime.tensor_parallel.init_utils import load_ds_config

from sweeper.worker.script.saving import save_nothing
from sweeper.worker.script.substitution import Substitution

_CONFIGS = ("config", "config_params")
_OF_ARGS = ("deepspeed_config", "deepscale_config")


def patch_deepspeed(
    substitution: Substitution,
    *,
    before: Callable[[Any, dict[str, Any]], None],
    taken: Callable[[Any, dict[str, Any]], None],
    failed: Callable[[BaseException], None],
) -> None:
    """The first engine takes the candidate's configuration; what more a script makes is its own affair.

    ``before`` is told the model and the configuration that DeepSpeed will get, ``taken`` the engine and
    the configuration that the script gave, ``failed`` what ``deepspeed.initialize`` raised.
    """
    original = deepspeed.initialize
    signature = inspect.signature(original)
    calls = 0

    @functools.wraps(original)
    def initialize(*positional: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 1:
            return original(*positional, **named)
        bound = signature.bind(*positional, **named)
        given = _take_config(bound.arguments)
        if given is None:
            return original(*positional, **named)  # DeepSpeed says what is missing
        substitution.shown.see(None, given)
        own = dict(load_ds_config(given))
        # A function of the parameters makes its optimizer anew, whatever it is.
        client = bound.arguments.get("optimizer") is not None
        config = bound.arguments["config"] = substitution(own, client_optimizer=client)
        before(bound.arguments.get("model"), config)
        try:
            made = original(*bound.args, **bound.kwargs)
        except BaseException as error:
            failed(error)
            raise
        taken(made[0], own)
        return made

    deepspeed.initialize = initialize
    save_nothing(deepspeed.DeepSpeedEngine, "save_checkpoint", "save_16bit_model")
    if substitution.acts:
        _patch_zero_init(substitution)


def _take_config(arguments: dict[str, Any]) -> Any:
    """The configuration, or the path of one, out of wherever it is given; None where there is none."""
    given = [arguments.pop(name, None) for name in _CONFIGS]
    args = arguments.get("args")
    of_args = [getattr(args, name, None) for name in _OF_ARGS]
    if any(value is not None for value in of_args):
        arguments["args"] = args = copy.copy(args)  # the script's own stays as it is
        for name in _OF_ARGS:
            if hasattr(args, name):
                setattr(args, name, None)
    return next((value for value in [*given, *of_args] if value is not None), None)


def _patch_zero_init(substitution: Substitution) -> None:
    """Parameters are partitioned while a model is built where the candidate's stage is 3, and only there."""
    original = deepspeed.zero.Init.__init__
    signature = inspect.signature(original)

    @functools.wraps(original)
    def __init__(self: Any, *positional: Any, **named: Any) -> None:
        bound = signature.bind(self, *positional, **named)
        for name in ("config_dict_or_path", "config"):
            if (config := bound.arguments.get(name)) is not None:
                bound.arguments[name] = substitution(load_ds_config(config))
        if substitution.spec.ds_config["zero_optimization"]["stage"] != 3:
            bound.arguments["enabled"] = False
        original(*bound.args, **bound.kwargs)

    deepspeed.zero.Init.__init__ = __init__
