"""What the default study needs: ``+model=gpt2 hydra/sweeper=optuna`` and nothing else typed."""

from __future__ import annotations

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from sweeper.core.ds_config import ops_needed
from sweeper.hydra_edge.compose import Composer
from sweeper.hydra_edge.expressions import read
from sweeper.hydra_edge.hydra_versions import VERSION_BASE
from sweeper.hydra_edge.schema import register
from sweeper.places import conf_dir


def ops_of_default_study(accelerator: str) -> tuple[str, ...]:
    """DeepSpeed's builders of the ops that its trials may need on the accelerator."""
    # One rank: how many devices there are, a driver that hangs need not be asked.
    study = [
        *("+model=gpt2", "hydra/sweeper=optuna"),
        *(f"hardware={accelerator}", "hardware.ranks=1"),
    ]
    register(study)
    with initialize_config_dir(str(conf_dir()), **VERSION_BASE):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        config = hydra.compose_config("config", study, run_mode=RunMode.MULTIRUN)
        space = read((), config.hydra.sweeper.params, hydra.config_loader).space
        composer = Composer(hydra.config_loader, config, study)
        needed = dict.fromkeys(ops_needed(composer.settings(())))
        for name, domain in space.parameters.items():
            for value in domain.points() or ():
                needed |= dict.fromkeys(ops_needed(composer.settings((f"{name}={value}",))))
    return tuple(needed)
