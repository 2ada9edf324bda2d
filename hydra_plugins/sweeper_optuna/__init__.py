"""Hydra's plugin scan finds the sweeper here; it imports this in every Hydra app, so it stays light."""

from __future__ import annotations

from typing import Any

from hydra.errors import CompactHydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """``hydra/sweeper=optuna``: hands what Hydra gives it to ``sweeper.hydra_edge.sweep``."""

    def __init__(self, **options: Any) -> None:
        self._options = options

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self._hydra_context = hydra_context
        self._task_function = task_function
        self._config = config

    def sweep(self, arguments: list[str]) -> Any:
        if not self._task_function.__module__.startswith("sweeper."):
            # Neither the options nor a trial are there.
            raise CompactHydraException(
                "hydra.sweeper=hydra_plugins.sweeper_optuna.OptunaSweeper tunes DeepSpeed for the command sweeper "
                "alone; type python -m sweeper +model=gpt2 hydra/sweeper=optuna, and leave hydra.sweeper out here"
            )
        from sweeper.hydra_edge.sweep import sweep

        return sweep(
            arguments,
            options=self._options,
            hydra_context=self._hydra_context,
            task_function=self._task_function,
            config=self._config,
        )
