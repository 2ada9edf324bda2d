"""Stands in for ``deepspeed.initialize`` and ``deepspeed.zero.Init`` while a user's script runs."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import deepspeed
from deepspeed.runtime.tensor_parallel.init_utils import load_ds_config

from sweeper.core.script_config import without_side_effects
from sweeper.worker.failures import text_of
from sweeper.worker.script.refusals import refusal, unreadable
from sweeper.worker.script.saving import save_nothing
from sweeper.worker.script.substitution import Substitution

_CONFIGS = ("config", "config_params")
_OF_ARGS = ("deepspeed_config", "deepscale_config")
_NO_CONFIG = (
    "deepspeed.initialize is given no configuration; type 'script.args=\"--deepspeed_config <file>\"' where the"
    " script parses that, or give it one in the script"
)


class Engines(Protocol):
    """Told of each engine that a script makes."""

    def is_tuned(self, client_optimizer: Any, config: Mapping[str, Any]) -> bool:
        """Whether the engine that is about to be made takes the candidate's configuration."""

    def before(self, model: Any, config: dict[str, Any]) -> dict[str, Any]:
        """``config`` as a person would use it; returns what DeepSpeed is given. Of a tuned engine."""

    def made(self, engine: Any, own: Mapping[str, Any], client_optimizer: Any) -> None:
        """``own`` is the configuration that the script gave, with what was typed. Of any engine."""

    def failed(self, error: BaseException, refused: str) -> None:
        """What ``deepspeed.initialize`` raised; ``refused`` says why, where it is the configuration."""


def patch_deepspeed(substitution: Substitution, engines: Engines) -> None:
    """An engine that is tuned takes the candidate's configuration; what more a script makes keeps its own."""
    original = deepspeed.initialize
    signature = inspect.signature(original)

    @functools.wraps(original)
    def initialize(*positional: Any, **named: Any) -> Any:
        bound = signature.bind(*positional, **named)
        if _are_two(bound.arguments):
            return original(*positional, **named)  # which DeepSpeed refuses
        given = _take_config(bound.arguments)
        if given is None:
            with _told(engines, lambda error: _NO_CONFIG if _misses_one(error) else ""):
                return original(*positional, **named)  # DeepSpeed says what is missing
        with _told(engines, lambda error: unreadable(given, error)):
            read = load_ds_config(given)
        with _told(engines, lambda error: refusal(read, error)):
            own = dict(read)
        # A function of the parameters makes its optimizer anew, whatever it is.
        client = bound.arguments.get("optimizer")
        config = own
        with _told(engines, lambda error: refusal(config, error)):
            if engines.is_tuned(client, own):
                substitution.shown.see(None, given)
                config = substitution(own, client=client)
                bound.arguments["config"] = engines.before(bound.arguments.get("model"), config)
            else:
                bound.arguments["config"] = without_side_effects(own)[0]
            made = original(*bound.args, **bound.kwargs)
            engines.made(made[0], config, client)
        return made

    deepspeed.initialize = initialize
    save_nothing(deepspeed.DeepSpeedEngine, "save_checkpoint", "save_16bit_model")
    if substitution.acts or substitution.takes("zero"):
        _patch_zero_init(substitution)


@contextlib.contextmanager
def _told(engines: Engines, why: Callable[[BaseException], str]) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        engines.failed(error, why(error))
        raise


def _misses_one(error: BaseException) -> bool:
    return isinstance(error, AssertionError) and "configuration" in text_of(error)


def _are_two(arguments: Mapping[str, Any]) -> bool:
    """Whether ``args`` and the call both say what the configuration is."""
    of_args = [getattr(arguments.get("args"), name, None) for name in _OF_ARGS]
    return any(v is not None for v in of_args) and any(
        arguments.get(name) is not None for name in _CONFIGS
    )


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
