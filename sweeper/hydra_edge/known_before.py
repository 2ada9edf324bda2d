"""What a study's options name is looked at before anything is started, the cheapest first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from sweeper.core.settings import Settings
from sweeper.core.space import SearchSpace
from sweeper.errors import UsageError
from sweeper.hydra_edge.compose import Composer, objective_of
from sweeper.hydra_edge.messages import is_expected, usage_error
from sweeper.hydra_edge.sampling import check_directions, check_sampler, check_storage_of, hook_of
from sweeper.hydra_edge.warm_start import check_is_study, earlier_trials
from sweeper.run.tokens_file import check_tokens_file


def check_options_of_study(
    options: Mapping[str, Any], space: SearchSpace, composer: Composer, config: DictConfig
) -> None:
    """Raises UsageError for a storage, a sampler, a hook, an earlier study, a direction or a file of tokens
    that a study would stop at, or end without.
    """
    check_is_study(options)
    check_directions(options.get("direction"), objective_of(composer.config(())))
    if (settings := settings_typed(composer)) is not None:
        check_tokens_file(settings)
        earlier_trials(options, settings)
    check_storage_of(options)
    hook = hook_of(options.get("custom_search_space"), config)
    check_sampler(options, space, extended=hook is not None)
    if hook is not None:
        _try(hook, str(options["custom_search_space"]), space, composer)


def settings_typed(composer: Composer) -> Settings | None:
    """Of what is typed beside the search; None where that is no configuration by itself."""
    try:
        return composer.settings(())
    except UsageError:
        return None


def _try(hook: Any, dotted: str, space: SearchSpace, composer: Composer) -> None:
    from sweeper.search.hook import tried

    typed = f"hydra.sweeper.custom_search_space={dotted}"
    try:
        suggested = tried(hook, space)
    except Exception as error:  # the user's own code
        told = (str(error).splitlines() or [""])[0]
        raise UsageError(
            f"{typed}: raised {type(error).__name__}{f': {told}' if told else ''}{_where(error, hook)}; "
            "mend it, or type hydra.sweeper.custom_search_space=null"
        ) from error
    for name, value in suggested.items():
        override = f"{name}={value}"
        try:
            composer.settings((override,))
        except Exception as error:
            if not (isinstance(error, UsageError) or is_expected(error)):
                raise
            raise UsageError(
                f"{typed}: suggests {usage_error(error, (override,))}, in the hook"
            ) from error


def _where(error: Exception, hook: Any) -> str:
    """The innermost line of the hook's own file."""
    file = hook.file
    at, place = error.__traceback__, ""
    while at is not None:
        if at.tb_frame.f_code.co_filename == file:
            place = f" ({Path(file).name}:{at.tb_lineno})"
        at = at.tb_next
    return place
